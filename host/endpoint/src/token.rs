//! The token that a client must show.

use std::hint::black_box;

use lakehost_pipeline::Secret;
use uuid::Uuid;

/// A new one: 64 characters that nobody guesses.
#[must_use]
pub fn new_token() -> Secret {
    Secret::new(format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))
}

/// Whether two texts are the same, in a time that tells nothing of where they differ.
pub fn same(given: &str, wanted: &str) -> bool {
    let (given, wanted) = (given.as_bytes(), wanted.as_bytes());
    if given.len() != wanted.len() {
        return false;
    }
    given.iter().zip(wanted).fold(0_u8, |differs, (left, right)| black_box(differs | (left ^ right))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_token_is_the_same() {
        let token = new_token();
        assert_eq!(token.expose().len(), 64);
        assert_ne!(token, new_token());
        assert!(same(token.expose(), token.expose()));
        for wrong in ["", "x", &token.expose()[1..], &format!("{}x", token.expose()), &token.expose().to_uppercase()] {
            assert!(!same(wrong, token.expose()) || wrong == token.expose(), "{wrong}");
        }
    }
}
