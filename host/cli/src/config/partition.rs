//! Partition expressions as people write them: `day(pickup_datetime)`, `bucket(16, customer_id)`, `region`.

use lakehost_columnar::{PartitionField, Transform};

/// Parses a comma-separated list. `Err`: the expression that is wrong, and why.
pub fn parse(text: &str) -> Result<Vec<PartitionField>, String> {
    split(text)?.into_iter().map(field).collect()
}

/// Cuts at commas outside parentheses.
fn split(text: &str) -> Result<Vec<&str>, String> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_i32, 0);
    for (index, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text.get(start..index).unwrap_or_default().trim());
                start = index + 1;
            }
            _ => {}
        }
        if depth < 0 {
            break;
        }
    }
    if depth != 0 {
        return Err(format!("`{}` has unequal parentheses", text.escape_debug()));
    }
    parts.push(text.get(start..).unwrap_or_default().trim());
    Ok(parts)
}

fn field(text: &str) -> Result<PartitionField, String> {
    let wrong = || {
        format!(
            "`{}` is not a partition field: COLUMN, year(COLUMN), month(…), day(…), hour(…), bucket(COUNT, COLUMN) or \
             truncate(WIDTH, COLUMN)",
            text.escape_debug()
        )
    };
    let Some((function, rest)) = text.split_once('(') else {
        let sound = !text.is_empty() && !text.contains([')', ' ', ',']);
        return if sound {
            Ok(PartitionField { column: text.to_owned(), transform: Transform::Identity })
        } else {
            Err(wrong())
        };
    };
    let arguments: Vec<&str> = rest.strip_suffix(')').ok_or_else(wrong)?.split(',').map(str::trim).collect();
    let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number > 0).ok_or_else(wrong);
    let (column, transform) = match (function.trim().to_ascii_lowercase().as_str(), arguments.as_slice()) {
        ("identity", [column]) => (*column, Transform::Identity),
        ("year" | "years", [column]) => (*column, Transform::Year),
        ("month" | "months", [column]) => (*column, Transform::Month),
        ("day" | "days", [column]) => (*column, Transform::Day),
        ("hour" | "hours", [column]) => (*column, Transform::Hour),
        ("bucket", [count, column]) => (*column, Transform::Bucket(number(count)?)),
        ("truncate", [width, column]) => (*column, Transform::Truncate(number(width)?)),
        _ => return Err(wrong()),
    };
    if column.is_empty() || column.contains(['(', ')', ' ']) {
        return Err(wrong());
    }
    Ok(PartitionField { column: column.to_owned(), transform })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_parse() {
        let table = [
            ("day(pickup)", Ok("pickup Day")),
            ("bucket(16, id), Day( t ),region", Ok("id Bucket(16); t Day; region Identity")),
            ("truncate(4,name)", Ok("name Truncate(4)")),
            ("bucket(0, id)", Err(())),
            ("bucket(id)", Err(())),
            ("week(t)", Err(())),
            ("day(t", Err(())),
            ("day t)", Err(())),
            ("day(a b)", Err(())),
            ("", Err(())),
            ("a,,b", Err(())),
        ];
        for (text, expected) in table {
            let got = parse(text).map(|fields| {
                let shown: Vec<String> =
                    fields.iter().map(|field| format!("{} {:?}", field.column, field.transform)).collect();
                shown.join("; ")
            });
            assert_eq!(got.as_deref().map_err(|_| ()), expected, "{text:?}");
        }
    }
}
