//! Filters that a table scan can use: DataFusion expressions as Iceberg predicates.
//!
//! A predicate only skips files, row groups and rows; DataFusion filters again. So it may keep too much, and must never drop a row that the
//! filter keeps: whatever is not plainly the same in both is left out.

use datafusion::arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;
use iceberg::expr::{Predicate, Reference};
use iceberg::spec::Datum;

/// The conjunction of all filters that have an Iceberg form.
pub(crate) fn conjunction(filters: &[Expr], schema: &Schema) -> Option<Predicate> {
    filters.iter().filter_map(|filter| predicate(filter, schema)).reduce(Predicate::and)
}

/// One filter as Iceberg predicate, when it has that form.
pub(crate) fn predicate(filter: &Expr, schema: &Schema) -> Option<Predicate> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            // Half a conjunction still drops nothing that the whole keeps.
            match (predicate(left, schema), predicate(right, schema)) {
                (Some(left), Some(right)) => Some(left.and(right)),
                (one, other) => one.or(other),
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            Some(predicate(left, schema)?.or(predicate(right, schema)?))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (&**left, &**right) {
            (column, Expr::Literal(value, _)) => comparison(column, *op, value, schema),
            (Expr::Literal(value, _), column) => comparison(column, op.swap()?, value, schema),
            _ => None,
        },
        Expr::Between(Between { expr, negated: false, low, high }) => {
            let (Expr::Literal(low, _), Expr::Literal(high, _)) = (&**low, &**high) else { return None };
            Some(comparison(expr, Operator::GtEq, low, schema)?.and(comparison(expr, Operator::LtEq, high, schema)?))
        }
        Expr::InList(list) if !list.negated => {
            let (name, data_type) = column_of(&list.expr, schema)?;
            let values: Option<Vec<Datum>> = list
                .list
                .iter()
                .map(|item| match item {
                    Expr::Literal(value, _) => datum(value, data_type),
                    _ => None,
                })
                .collect();
            Some(Reference::new(name).is_in(values?))
        }
        Expr::IsNull(inner) => column_of(inner, schema).map(|(name, _)| Reference::new(name).is_null()),
        Expr::IsNotNull(inner) => column_of(inner, schema).map(|(name, _)| Reference::new(name).is_not_null()),
        _ => None,
    }
}

fn comparison(column: &Expr, operator: Operator, value: &ScalarValue, schema: &Schema) -> Option<Predicate> {
    let (name, data_type) = column_of(column, schema)?;
    // NaN is the greatest value in SQL and outside the bounds in Iceberg statistics: an order on floats could skip it.
    if matches!(data_type, DataType::Float32 | DataType::Float64) && operator != Operator::Eq {
        return None;
    }
    let datum = datum(value, data_type)?;
    let reference = Reference::new(name);
    match operator {
        Operator::Eq => Some(reference.equal_to(datum)),
        Operator::Lt => Some(reference.less_than(datum)),
        Operator::LtEq => Some(reference.less_than_or_equal_to(datum)),
        Operator::Gt => Some(reference.greater_than(datum)),
        Operator::GtEq => Some(reference.greater_than_or_equal_to(datum)),
        _ => None,
    }
}

fn column_of<'a>(expr: &Expr, schema: &'a Schema) -> Option<(String, &'a DataType)> {
    let Expr::Column(column) = expr else { return None };
    let field = schema.field_with_name(&column.name).ok()?;
    // A dot in a name means a nested field to Iceberg.
    (!field.data_type().is_nested() && !column.name.contains('.')).then(|| (column.name.clone(), field.data_type()))
}

/// The literal as a value of exactly the column's type; NULL and NaN have none.
fn datum(value: &ScalarValue, column: &DataType) -> Option<Datum> {
    match (value, column) {
        (ScalarValue::Boolean(Some(value)), DataType::Boolean) => Some(Datum::bool(*value)),
        (ScalarValue::Int32(Some(value)), DataType::Int32) => Some(Datum::int(*value)),
        (ScalarValue::Int64(Some(value)), DataType::Int64) => Some(Datum::long(*value)),
        (ScalarValue::Float32(Some(value)), DataType::Float32) if !value.is_nan() && *value != 0.0 => {
            Some(Datum::float(*value))
        }
        (ScalarValue::Float64(Some(value)), DataType::Float64) if !value.is_nan() && *value != 0.0 => {
            Some(Datum::double(*value))
        }
        (ScalarValue::Date32(Some(value)), DataType::Date32) => Some(Datum::date(*value)),
        (ScalarValue::TimestampMicrosecond(Some(value), None), DataType::Timestamp(TimeUnit::Microsecond, None)) => {
            Some(Datum::timestamp_micros(*value))
        }
        (
            ScalarValue::TimestampMicrosecond(Some(value), Some(_)),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)),
        ) => Some(Datum::timestamptz_micros(*value)),
        (
            ScalarValue::Utf8(Some(value)) | ScalarValue::Utf8View(Some(value)) | ScalarValue::LargeUtf8(Some(value)),
            DataType::Utf8 | DataType::LargeUtf8,
        ) => Some(Datum::string(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Field;
    use datafusion::prelude::{col, ident, lit};

    use super::*;

    #[test]
    fn filters_become_predicates_only_when_they_mean_the_same() {
        let schema = Schema::new(vec![
            Field::new("VendorID", DataType::Int32, true),
            Field::new("fare", DataType::Float64, true),
            Field::new("flag", DataType::Utf8, true),
            Field::new("_lakehost_window", DataType::Date32, true),
        ]);
        let date = |days| lit(ScalarValue::Date32(Some(days)));
        let table = [
            (ident("VendorID").eq(lit(2_i32)), Some("VendorID = 2")),
            (lit(2_i32).gt(ident("VendorID")), Some("VendorID < 2")),
            (ident("VendorID").eq(lit(2_i64)), None),
            (ident("VendorID").in_list(vec![lit(1_i32), lit(2_i32)], true), None),
            (
                col("_lakehost_window").between(date(19_723), date(19_754)),
                Some("(_lakehost_window >= 2024-01-01) AND (_lakehost_window <= 2024-02-01)"),
            ),
            (col("flag").is_null(), Some("flag IS NULL")),
            (col("flag").eq(lit("Y")).or(col("flag").like(lit("N%"))), None),
            (col("flag").eq(lit("Y")).and(col("flag").like(lit("N%"))), Some("flag = \"Y\"")),
            (col("fare").gt(lit(1.0)), None),
            (col("fare").eq(lit(1.5)), Some("fare = 1.5")),
            (col("fare").eq(lit(f64::NAN)), None),
            (col("flag").eq(lit(ScalarValue::Utf8(None))), None),
            (col("flag").not_eq(lit("Y")), None),
        ];
        for (filter, expected) in table {
            let got = predicate(&filter, &schema).map(|predicate| predicate.to_string());
            assert_eq!(got.as_deref(), expected, "{filter}");
        }
    }
}
