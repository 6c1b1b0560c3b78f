//! What rows are sorted by, as flags and files write it.

use lakehost_columnar::SortKey;

use crate::error::Error;

/// `fare`, `-fare`, `fare desc`, `fare asc`.
pub fn sort_key(text: &str) -> Result<SortKey, Error> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (column, descending) = match words.as_slice() {
        [column] => match column.strip_prefix('-') {
            Some(column) => (column, true),
            None => (*column, false),
        },
        [column, order] if order.eq_ignore_ascii_case("asc") => (*column, false),
        [column, order] if order.eq_ignore_ascii_case("desc") => (*column, true),
        _ => ("", false),
    };
    if column.is_empty() {
        return Err(Error::Usage {
            message: format!("`{}` is not a column to sort by", text.trim().escape_debug()),
            hint: Some("write columns with commas: \"pickup_datetime, fare desc\"".to_owned()),
        });
    }
    Ok(SortKey { column: column.to_owned(), descending, nulls_first: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sort_keys_are_understood() {
        for (text, expected) in [
            ("fare", Some(("fare", false))),
            (" -fare", Some(("fare", true))),
            ("fare DESC", Some(("fare", true))),
            ("fare asc ", Some(("fare", false))),
            ("fare up", None),
            ("-", None),
            ("", None),
        ] {
            let key = sort_key(text).ok();
            assert_eq!(key.as_ref().map(|key| (key.column.as_str(), key.descending)), expected, "{text:?}");
        }
    }
}
