//! What a merge tells rows apart by: what the pipeline says, else what the data set says of itself.

use arrow_schema::{DataType, Field, Schema};
use lakehost_columnar::Rows;

use crate::error::Error;
use crate::ports::{Dataset, TableName, WriteMode};

/// Key columns, and the column by which one of several new rows of a key counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MergeKey {
    pub columns: Vec<String>,
    pub order: Option<String>,
}

/// The rule by which a merge rejects rows without a key.
pub(crate) const NULL_KEY: &str = "merge:null-key";

impl MergeKey {
    /// The key of a load: empty for all modes but merge, where somebody must name one.
    ///
    /// # Errors
    /// LH0101 for a key or an order that the mode has no use for, LH0407 when a merge has no key.
    pub fn of(
        key: &[String],
        order: Option<&str>,
        dataset: &Dataset,
        table: &TableName,
        mode: WriteMode,
    ) -> Result<Self, Error> {
        if mode != WriteMode::Merge {
            let unused = if key.is_empty() { order.map(|_| "order_by") } else { Some("key") };
            return match unused {
                Some(setting) => Err(Error::KeyUnused { setting, mode: mode.word() }),
                None => Ok(Self::default()),
            };
        }
        let columns = if key.is_empty() { dataset.key.clone() } else { key.to_vec() };
        if columns.is_empty() {
            let detail = format!("neither the pipeline nor the source names a key ({} has none)", dataset.name);
            return Err(Error::MergeKey { table: table.to_string(), detail, nearest: None });
        }
        let order = order.map(str::to_owned).or_else(|| dataset.cursor.clone());
        Ok(Self { columns, order })
    }

    /// Holds the columns against those of the table to be. `open`: files may bring more columns, so one that is not there yet may come.
    ///
    /// # Errors
    /// LH0407 for a column that is not there, is named twice, or whose values cannot tell rows apart for certain.
    pub fn check(&self, table: &TableName, schema: &Schema, open: bool) -> Result<(), Error> {
        let wrong = |detail: String, nearest: Option<String>| {
            Err(Error::MergeKey { table: table.to_string(), detail, nearest })
        };
        for (position, name) in self.columns.iter().enumerate() {
            if self.columns.iter().take(position).any(|before| before == name) {
                return wrong(format!("the key names the column {name} twice"), None);
            }
        }
        let order = self.order.iter().map(|name| (name, "order_by"));
        for (name, setting) in self.columns.iter().map(|name| (name, "key")).chain(order) {
            let Ok(field) = schema.field_with_name(name) else {
                if open {
                    continue;
                }
                let known = schema.fields().iter().map(|field| field.name());
                let nearest = known.clone().find(|known| known.eq_ignore_ascii_case(name)).cloned();
                let known: Vec<&str> = known.map(String::as_str).collect();
                return wrong(
                    format!(
                        "`{setting}` names the column {}, and there are: {}",
                        name.escape_debug(),
                        known.join(", ")
                    ),
                    nearest,
                );
            };
            if let Some(why) = unfit(field, setting == "key") {
                return wrong(format!("column {name} ({}) {why}", field.data_type()), None);
            }
        }
        Ok(())
    }

    /// The options by which the load id tells merges by other keys apart.
    pub fn options(&self) -> Vec<String> {
        let mut options: Vec<String> = self.columns.iter().map(|column| format!("merge-key={column}")).collect();
        options.extend(self.order.iter().map(|column| format!("merge-order={column}")));
        options
    }

    /// Whether a key column of these rows may be null, as far as can be told without reading them.
    pub fn may_be_null(&self, rows: &Rows) -> bool {
        let Rows::Scan(scan) = rows else { return true };
        let groups = scan.file().metadata().row_groups();
        let full = |name: &String| {
            groups.iter().all(|group| {
                let chunk = group.columns().iter().find(|chunk| chunk.column_path().string() == *name);
                chunk.is_some_and(|chunk| {
                    let nulls = chunk.statistics().and_then(|statistics| statistics.null_count_opt());
                    chunk.column_descr().max_def_level() == 0 || nulls == Some(0)
                })
            })
        };
        !self.columns.iter().all(full)
    }
}

/// Why a column cannot be a key or an order.
fn unfit(field: &Field, is_key: bool) -> Option<&'static str> {
    match field.data_type() {
        DataType::Float16 | DataType::Float32 | DataType::Float64 if is_key => {
            Some("is no key: two floats that print alike need not be equal")
        }
        kind if kind.is_nested() => Some("has values within values, and these are neither a key nor an order"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::diagnostic::Diagnostic;

    fn dataset(key: &[&str], cursor: Option<&str>) -> Dataset {
        Dataset {
            name: "orders".to_owned(),
            default_table: TableName::parse("raw.orders").unwrap(),
            schema: Arc::new(schema()),
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            cursor: cursor.map(str::to_owned),
            time_zone: None,
        }
    }

    fn schema() -> Schema {
        let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
        Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("Region", DataType::Utf8, true),
            Field::new("price", DataType::Float64, true),
            Field::new("tags", list, true),
        ])
    }

    fn key_of(key: &[&str], order: Option<&str>, dataset: &Dataset, mode: WriteMode) -> Result<MergeKey, Error> {
        let key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
        MergeKey::of(&key, order, dataset, &dataset.default_table, mode)
    }

    #[test]
    fn the_pipeline_s_word_counts_before_the_source_s() {
        let own = dataset(&["id"], Some("price"));
        let merge = |key: &[&str], order| key_of(key, order, &own, WriteMode::Merge).unwrap();
        assert_eq!(merge(&[], None), MergeKey { columns: vec!["id".into()], order: Some("price".into()) });
        let named = merge(&["Region", "id"], Some("Region"));
        assert_eq!(named.options(), ["merge-key=Region", "merge-key=id", "merge-order=Region"]);
        assert_eq!(key_of(&[], None, &own, WriteMode::Append).unwrap(), MergeKey::default());
    }

    #[test]
    fn what_cannot_be_a_key_is_refused_with_the_way_out() {
        let table = TableName::parse("raw.orders").unwrap();
        let said = |result: Result<MergeKey, Error>| {
            let error = result.and_then(|key| key.check(&table, &schema(), false)).unwrap_err();
            let cause = error.cause().unwrap_or_default();
            format!("{}: {error}; {cause}; {}", error.code(), error.hint().unwrap_or_default())
        };
        let none = dataset(&[], None);
        let merge = |key: &[&str], order| said(key_of(key, order, &none, WriteMode::Merge));
        assert_eq!(
            merge(&[], None),
            "LH0407: the load cannot be merged into raw.orders; neither the pipeline nor the source names a key (orders has none); name the \
             columns that tell rows apart: `--key id`, or `key = [\"id\"]` in the pipeline; rows without a key load with `--write-mode append`"
        );
        assert!(merge(&["region"], None).ends_with("id, Region, price, tags; did you mean `Region`?"));
        assert!(merge(&["id"], Some("when")).contains("`order_by` names the column when"));
        assert!(merge(&["price"], None).contains("column price (Float64) is no key"));
        assert!(merge(&["tags"], None).contains("has values within values"));
        assert!(merge(&["id"], Some("tags")).contains("has values within values"));
        assert!(merge(&["id", "id"], None).contains("twice"));
        assert_eq!(
            said(key_of(&["id"], None, &none, WriteMode::Append)),
            "LH0101: `key` is for merges, and this load writes by append; ; take it out, or write by merge"
        );
        assert!(
            said(key_of(&[], Some("id"), &none, WriteMode::ReplaceWindow)).starts_with("LH0101: `order_by` is for")
        );
        // A float orders rows well enough, and a column may come with the files.
        assert!(
            key_of(&["id"], Some("price"), &none, WriteMode::Merge).unwrap().check(&table, &schema(), false).is_ok()
        );
        assert!(key_of(&["new"], None, &none, WriteMode::Merge).unwrap().check(&table, &schema(), true).is_ok());
    }
}
