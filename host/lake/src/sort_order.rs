//! The table's sort order that rows of a load are in, for the entries of its files.

use iceberg::spec::{NullOrder, SortDirection, TableMetadata, Transform};
use lakehost_columnar::SortKey;

/// The table's order of these keys, when it has one.
pub fn id_of(metadata: &TableMetadata, keys: &[SortKey]) -> Option<i32> {
    if keys.is_empty() {
        return None;
    }
    let same = |field: &iceberg::spec::SortField, key: &SortKey| {
        let column = metadata.current_schema().field_by_name(&key.column);
        column.is_some_and(|column| column.id == field.source_id)
            && field.transform == Transform::Identity
            && (field.direction == SortDirection::Descending) == key.descending
            && (field.null_order == NullOrder::First) == key.nulls_first
    };
    let mut orders = metadata.sort_orders_iter();
    let order = orders.find(|order| {
        order.fields.len() == keys.len() && order.fields.iter().zip(keys).all(|(field, key)| same(field, key))
    })?;
    i32::try_from(order.order_id).ok().filter(|id| *id != 0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use iceberg::spec::{
        FormatVersion, NestedField, PartitionSpec, PrimitiveType, Schema, SortField, SortOrder, TableMetadataBuilder,
        Type,
    };

    use super::*;

    fn key(column: &str, descending: bool) -> SortKey {
        SortKey { column: column.to_owned(), descending, nulls_first: false }
    }

    #[test]
    fn only_the_very_order_is_named() {
        let column = |id: i32, name: &str| NestedField::optional(id, name, Type::Primitive(PrimitiveType::Long)).into();
        let schema = Schema::builder().with_fields([column(1, "a"), column(2, "b")]).build().unwrap();
        let field = |source_id: i32, direction: SortDirection| {
            let field = SortField::builder().source_id(source_id).transform(Transform::Identity);
            field.direction(direction).null_order(NullOrder::Last).build()
        };
        let mut order = SortOrder::builder();
        order
            .with_order_id(1)
            .with_fields(vec![field(2, SortDirection::Descending), field(1, SortDirection::Ascending)]);
        let order = order.build(&schema).unwrap();
        let made = TableMetadataBuilder::new(
            schema,
            PartitionSpec::unpartition_spec().into_unbound(),
            order,
            "/t".to_owned(),
            FormatVersion::V2,
            HashMap::new(),
        );
        let metadata = made.unwrap().build().unwrap().metadata;
        assert_eq!(id_of(&metadata, &[key("b", true), key("a", false)]), Some(1));
        for other in [
            vec![],
            vec![key("b", true)],
            vec![key("b", true), key("a", true)],
            vec![key("a", false), key("b", true)],
            vec![key("b", true), SortKey { nulls_first: true, ..key("a", false) }],
            vec![key("b", true), key("nope", false)],
        ] {
            assert_eq!(id_of(&metadata, &other), None, "{other:?}");
        }
    }
}
