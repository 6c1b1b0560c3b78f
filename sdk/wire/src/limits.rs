//! What one stream may hold. The same numbers bind every plugin; the host refuses what goes beyond them before it allocates anything.

/// Bounds of one IPC stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The whole stream, encoded.
    pub bytes: usize,
    /// One message's metadata (the flatbuffer).
    pub metadata_bytes: usize,
    /// What the values may come to when written out: string views may name the same bytes many times.
    pub decoded_bytes: usize,
    pub rows: usize,
    /// Top-level columns. All fields together, nested ones included, may be four times as many.
    pub columns: usize,
    /// How deep types nest; a plain column has depth 1.
    pub nesting: usize,
    pub field_name_bytes: usize,
}

impl Limits {
    /// The budgets of the contract.
    pub const DEFAULT: Self = Self {
        bytes: 64 << 20,
        metadata_bytes: 4 << 20,
        decoded_bytes: 256 << 20,
        rows: 1 << 20,
        columns: 4096,
        nesting: 32,
        field_name_bytes: 255,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
