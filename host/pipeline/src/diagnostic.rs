//! What every error of the host can say about itself: a numbered code, whether to try again, the inputs it names and the way out.
//!
//! Each crate keeps its own typed error and implements [`Diagnostic`] for it. [`Fault`] carries any of them through the pipeline and collects
//! the inputs that only outer layers know (window, pipeline, plugin). The command line alone turns a fault into text.

use std::fmt;

/// A numbered error class, such as `LH0301`: stable, documented one page each in `docs/errors/`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Code(pub &'static str);

impl Code {
    /// The exit code of the process when a run ends with this error.
    pub fn exit(self) -> u8 {
        match self.0.as_bytes() {
            [b'L', b'H', b'0', b'6', b'5', _] => 9,
            [b'L', b'H', b'0', class, ..] => match class {
                b'1' => 2,
                b'2' => 3,
                b'3' => 4,
                b'4' => 5,
                b'5' => 6,
                b'6' => 7,
                b'7' => 8,
                b'8' => 10,
                _ => 70,
            },
            [b'L', b'H', b'1', b'0', b'9', b'9'] => 130,
            [b'L', b'H', b'1', b'0', ..] => 11,
            _ => 70,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Whether doing the same again can help.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// The same call fails again.
    Never,
    /// Worth another try after a pause that grows.
    Backoff,
    /// Not before this many milliseconds.
    AfterMs(u64),
    /// The outcome is unknown: look before doing anything.
    LookFirst,
}

/// An error that people meet. `Display` is its first line: what happened, to which named thing, lower case, no full stop.
pub trait Diagnostic: std::error::Error + Send + Sync + 'static {
    /// The numbered class.
    fn code(&self) -> Code;
    /// Whether trying again can help.
    fn retry(&self) -> Retry {
        Retry::Never
    }
    /// Inputs by name: file, window, plugin, URL without secrets.
    fn inputs(&self) -> Vec<(String, String)> {
        Vec::new()
    }
    /// What the other side said.
    fn cause(&self) -> Option<String> {
        None
    }
    /// A command or an edit that works as printed.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// Any [`Diagnostic`], with the inputs that outer layers added.
pub struct Fault {
    inner: Box<dyn Diagnostic>,
    context: Vec<(String, String)>,
}

impl Fault {
    /// Wraps a typed error.
    pub fn new(error: impl Diagnostic) -> Self {
        Self { inner: Box::new(error), context: Vec::new() }
    }
    /// Adds an input that only this layer knows. The innermost value of a name wins.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        if !self.inputs().iter().any(|(known, _)| known == name) {
            self.context.push((name.to_owned(), value.to_string()));
        }
        self
    }
    /// The numbered class.
    pub fn code(&self) -> Code {
        self.inner.code()
    }
    /// Whether trying again can help.
    pub fn retry(&self) -> Retry {
        self.inner.retry()
    }
    /// What the other side said.
    pub fn cause(&self) -> Option<String> {
        Diagnostic::cause(&*self.inner)
    }
    /// A command or an edit that works as printed.
    pub fn hint(&self) -> Option<String> {
        self.inner.hint()
    }
    /// All inputs, outermost first.
    pub fn inputs(&self) -> Vec<(String, String)> {
        self.context.iter().rev().cloned().chain(self.inner.inputs()).collect()
    }
    /// The typed error, when it is a `T`.
    pub fn downcast_ref<T: Diagnostic>(&self) -> Option<&T> {
        let error: &(dyn std::error::Error + 'static) = &*self.inner;
        error.downcast_ref::<T>()
    }
    /// The typed error itself, when it is a `T`; what outer layers added to it is lost.
    pub fn downcast<T: Diagnostic>(self) -> Result<T, Self> {
        if self.downcast_ref::<T>().is_none() {
            return Err(self);
        }
        let error: Box<dyn std::error::Error> = self.inner;
        match error.downcast::<T>() {
            Ok(error) => Ok(*error),
            // It was a `T` a moment ago.
            Err(error) => unreachable!("{error}"),
        }
    }
}

impl std::error::Error for Fault {}

impl<T: Diagnostic> From<T> for Fault {
    fn from(error: T) -> Self {
        Self::new(error)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {:?}", self.code(), self.inner, self.inputs())
    }
}
