//! What of a condition the bounds and null counts of a file can be asked.

use arrow_schema::{DataType, Schema, TimeUnit};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;
use lakehost_pipeline::filter::{CompareOp, FilterValue, RowFilter};

/// A filter that is true wherever `condition` is, and whether it is the same in every case. The condition's literals have the types of the
/// columns that they are compared with.
pub fn of(condition: &Expr, columns: &Schema) -> Option<(RowFilter, bool)> {
    let exact = |filter| Some((filter, true));
    match condition {
        Expr::Literal(ScalarValue::Boolean(Some(true)), _) => exact(RowFilter::And(Vec::new())),
        Expr::Literal(ScalarValue::Boolean(Some(false)), _) => exact(RowFilter::Or(Vec::new())),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            match (of(left, columns), of(right, columns)) {
                (Some((left, first)), Some((right, second))) => {
                    Some((RowFilter::And(vec![left, right]), first && second))
                }
                // Half a conjunction holds wherever the whole does.
                (Some((half, _)), None) | (None, Some((half, _))) => Some((half, false)),
                (None, None) => None,
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let ((left, first), (right, second)) = (of(left, columns)?, of(right, columns)?);
            Some((RowFilter::Or(vec![left, right]), first && second))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (&**left, &**right) {
            (column, Expr::Literal(value, _)) => exact(compare(column, *op, value, columns)?),
            (Expr::Literal(value, _), column) => exact(compare(column, op.swap()?, value, columns)?),
            _ => None,
        },
        Expr::Between(Between { expr, negated, low, high }) => {
            let (Expr::Literal(low, _), Expr::Literal(high, _)) = (&**low, &**high) else { return None };
            let low = compare(expr, Operator::GtEq, low, columns)?;
            let between = RowFilter::And(vec![low, compare(expr, Operator::LtEq, high, columns)?]);
            exact(if *negated { RowFilter::Not(Box::new(between)) } else { between })
        }
        Expr::InList(InList { expr, list, negated }) => {
            let (column, data_type) = column_of(expr, columns)?;
            let values = list.iter().map(|item| match item {
                Expr::Literal(literal, _) => value(literal, data_type),
                _ => None,
            });
            let among = RowFilter::In { column, values: values.collect::<Option<Vec<_>>>()? };
            exact(if *negated { RowFilter::Not(Box::new(among)) } else { among })
        }
        Expr::Not(inner) => match of(inner, columns)? {
            (filter, true) => exact(RowFilter::Not(Box::new(filter))),
            _ => None,
        },
        Expr::IsNull(inner) => exact(RowFilter::IsNull { column: named(inner, columns)? }),
        Expr::IsNotNull(inner) => exact(RowFilter::Not(Box::new(RowFilter::IsNull { column: named(inner, columns)? }))),
        // Never null, so its opposite is another thing.
        Expr::IsTrue(inner) => of(inner, columns).map(|(filter, _)| (filter, false)),
        Expr::Column(_) => exact(compare(condition, Operator::Eq, &ScalarValue::Boolean(Some(true)), columns)?),
        _ => None,
    }
}

fn compare(column: &Expr, op: Operator, literal: &ScalarValue, columns: &Schema) -> Option<RowFilter> {
    let (column, data_type) = column_of(column, columns)?;
    let op = match op {
        Operator::Eq => CompareOp::Eq,
        Operator::NotEq => CompareOp::NotEq,
        Operator::Lt => CompareOp::Less,
        Operator::LtEq => CompareOp::LessEq,
        Operator::Gt => CompareOp::Greater,
        Operator::GtEq => CompareOp::GreaterEq,
        _ => return None,
    };
    Some(RowFilter::Compare { column, op, value: value(literal, data_type)? })
}

fn named(expr: &Expr, columns: &Schema) -> Option<String> {
    column_of(expr, columns).map(|(name, _)| name)
}

fn column_of<'a>(expr: &Expr, columns: &'a Schema) -> Option<(String, &'a DataType)> {
    let Expr::Column(column) = expr else { return None };
    let field = columns.field_with_name(&column.name).ok()?;
    // A dot in a name means a nested field to Iceberg.
    (!field.data_type().is_nested() && !column.name.contains('.')).then(|| (column.name.clone(), field.data_type()))
}

/// The literal as one of exactly the column's type. Bounds of floating point leave NaN out, so they are not asked; nulls compare with nothing.
fn value(literal: &ScalarValue, column: &DataType) -> Option<FilterValue> {
    match (literal, column) {
        (ScalarValue::Boolean(Some(value)), DataType::Boolean) => Some(FilterValue::Bool(*value)),
        (ScalarValue::Int32(Some(value)), DataType::Int32) => Some(FilterValue::Int(i64::from(*value))),
        (ScalarValue::Int64(Some(value)), DataType::Int64) => Some(FilterValue::Int(*value)),
        (ScalarValue::Date32(Some(days)), DataType::Date32) => Some(FilterValue::Date(*days)),
        (ScalarValue::TimestampMicrosecond(Some(micros), None), DataType::Timestamp(TimeUnit::Microsecond, None))
        | (
            ScalarValue::TimestampMicrosecond(Some(micros), Some(_)),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)),
        ) => Some(FilterValue::TimestampMicros(*micros)),
        (
            ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)),
            DataType::Utf8 | DataType::LargeUtf8,
        ) => Some(FilterValue::Text(text.clone())),
        _ => None,
    }
}
