//! Which rows a deletion means, as a tree. Text becomes one where SQL is known; the tables' side applies it to files and rows.
//!
//! # Shape
//! SQL's three values: a comparison with null is neither true nor false, and only rows for which the whole is true are meant.

use std::fmt;

/// A condition on the columns of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum RowFilter {
    And(Vec<RowFilter>),
    Or(Vec<RowFilter>),
    Not(Box<RowFilter>),
    Compare { column: String, op: CompareOp, value: FilterValue },
    In { column: String, values: Vec<FilterValue> },
    IsNull { column: String },
}

/// How a column is compared with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    Eq,
    NotEq,
    Less,
    LessEq,
    Greater,
    GreaterEq,
}

impl CompareOp {
    /// What holds exactly where this one is false.
    #[must_use]
    pub fn inverse(self) -> Self {
        match self {
            Self::Eq => Self::NotEq,
            Self::NotEq => Self::Eq,
            Self::Less => Self::GreaterEq,
            Self::LessEq => Self::Greater,
            Self::Greater => Self::LessEq,
            Self::GreaterEq => Self::Less,
        }
    }
}

/// A value to compare with. A whole number stands for any numeric type, the others for their own.
#[derive(Clone, Debug, PartialEq)]
pub enum FilterValue {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Days since 1970.
    Date(i32),
    /// Since 1970, in UTC for columns with a time zone.
    TimestampMicros(i64),
    /// Unscaled value and scale.
    Decimal(i128, i8),
}

impl fmt::Display for FilterValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(value) => write!(f, "'{}'", value.replace('\'', "''").escape_debug()),
            Self::Date(days) => write!(f, "day {days}"),
            Self::TimestampMicros(micros) => write!(f, "microsecond {micros}"),
            Self::Decimal(value, scale) => write!(f, "{value}e-{scale}"),
        }
    }
}

impl RowFilter {
    /// The columns that it looks at, each once, by name.
    #[must_use]
    pub fn columns(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.collect(&mut names);
        names.sort_unstable();
        names.dedup();
        names
    }

    fn collect<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|part| part.collect(names)),
            Self::Not(inner) => inner.collect(names),
            Self::Compare { column, .. } | Self::In { column, .. } | Self::IsNull { column } => names.push(column),
        }
    }
}
