//! Columns that change: added, widened, renamed, made optional.
//!
//! A field keeps its id for good. New columns are optional and come last, since files that are there do not have them; types only widen as
//! every Iceberg reader promotes them. What the table is partitioned by keeps its type: manifests hold values of it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema as ArrowSchema};
use async_trait::async_trait;
use iceberg::arrow::arrow_schema_to_schema;
use iceberg::spec::{NestedField, NestedFieldRef, PrimitiveType, Schema, TableMetadata, Type};
use lakehost_pipeline::contract::{Contract, OnDrift};
use lakehost_pipeline::ports::TableName;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::catalog::Base;
use crate::commit::{Action, Delta, Landing, On, Step};
use crate::error::{Drift, Error, Result};
use crate::lake::IcebergLake;
use crate::refs::head;
use crate::schema::{self, type_word};

/// What a table's columns became.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evolution {
    /// `None`: they are as they were.
    pub schema: Option<Schema>,
    pub added: Vec<String>,
    /// Column, old and new type.
    pub widened: Vec<(String, String, String)>,
    /// New and old name.
    pub renamed: Vec<(String, String)>,
    pub optional: Vec<String>,
}

/// Columns under change.
struct Columns<'a> {
    table: &'a TableName,
    metadata: &'a TableMetadata,
    fields: Vec<NestedFieldRef>,
    next_id: i32,
    done: Evolution,
}

/// The columns of a table once it takes those of `found`, as far as the contract lets columns change; `file` brought them.
///
/// # Errors
/// `LH0405` with both types, for a change that readers of the table could not follow.
pub fn evolve(
    table: &TableName,
    metadata: &TableMetadata,
    found: &ArrowSchema,
    contract: &Contract,
    file: &str,
) -> Result<Evolution> {
    let mut columns = Columns::of(table, metadata);
    for field in found.fields() {
        if contract.of(field.name()) == OnDrift::Evolve && !field.name().starts_with("_lakehost_") {
            columns.take(field, file)?;
        }
    }
    columns.finish()
}

/// The columns of a table with some under new names (new, old) and some no longer required.
///
/// # Errors
/// `LH0603` when a column is not there, or the new name is taken.
pub fn change(
    table: &TableName,
    metadata: &TableMetadata,
    renames: &[(String, String)],
    optional: &[String],
) -> Result<Evolution> {
    without(table, metadata, renames, optional, &[])
}

/// The same, with some columns gone.
fn without(
    table: &TableName,
    metadata: &TableMetadata,
    renames: &[(String, String)],
    optional: &[String],
    dropped: &[String],
) -> Result<Evolution> {
    let mut columns = Columns::of(table, metadata);
    for (new, old) in renames {
        columns.rename(new, old)?;
    }
    for name in optional {
        let field = columns.named(name)?;
        if field.required {
            let changed = NestedField { required: false, ..NestedField::clone(&field) };
            columns.put(changed);
            columns.done.optional.push(name.clone());
        }
    }
    for name in dropped {
        columns.drop(name)?;
    }
    columns.finish()
}

impl<'a> Columns<'a> {
    fn of(table: &'a TableName, metadata: &'a TableMetadata) -> Self {
        Self {
            table,
            metadata,
            fields: metadata.current_schema().as_struct().fields().to_vec(),
            next_id: metadata.last_column_id().saturating_add(1),
            done: Evolution::default(),
        }
    }

    fn named(&self, name: &str) -> Result<NestedFieldRef> {
        let found = self.fields.iter().find(|field| field.name == name);
        found.cloned().ok_or_else(|| Error::shape(self.table, format!("has no column {name}")))
    }

    /// Replaces the column of that id.
    fn put(&mut self, changed: NestedField) {
        if let Some(slot) = self.fields.iter_mut().find(|field| field.id == changed.id) {
            *slot = Arc::new(changed);
        }
    }

    fn rename(&mut self, new: &str, old: &str) -> Result<()> {
        let (has_new, has_old) =
            (self.fields.iter().any(|field| field.name == new), self.fields.iter().any(|field| field.name == old));
        match (has_new, has_old) {
            // It has the new name already.
            (true, false) => Ok(()),
            (true, true) => Err(Error::shape(self.table, format!("has both columns, {old} and {new}"))),
            (false, false) => Err(Error::shape(self.table, format!("has no column {old} to be named {new}"))),
            (false, true) => {
                let near = self.fields.iter().find(|field| field.name != old && field.name.eq_ignore_ascii_case(new));
                if let Some(near) = near {
                    let detail = format!("has a column {} that differs from {new} only in case", near.name);
                    return Err(Error::shape(self.table, detail));
                }
                let field = self.named(old)?;
                self.put(NestedField { name: new.to_owned(), ..NestedField::clone(&field) });
                self.done.renamed.push((new.to_owned(), old.to_owned()));
                Ok(())
            }
        }
    }

    fn drop(&mut self, name: &str) -> Result<()> {
        let id = self.named(name)?.id;
        let refuse = |why: &str| Err(Error::shape(self.table, format!("cannot lose column {name}: {why}")));
        if name.starts_with("_lakehost_") {
            return refuse("it is lakehost's own");
        }
        // Files and manifests of a spec hold values of its columns, for as long as a snapshot has them.
        let parts = |spec: &iceberg::spec::PartitionSpecRef| spec.fields().iter().any(|part| part.source_id == id);
        if self.metadata.partition_specs_iter().any(parts) {
            return refuse("the table is or was partitioned by it");
        }
        if self.metadata.default_sort_order().fields.iter().any(|field| field.source_id == id) {
            return refuse("the table is sorted by it; `lakehost table set-sort` takes another order");
        }
        if self.metadata.current_schema().identifier_field_ids().any(|key| key == id) {
            return refuse("it is part of the table's key");
        }
        if self.fields.iter().filter(|field| !field.name.starts_with("_lakehost_")).count() == 1 {
            return refuse("it is the last one");
        }
        self.fields.retain(|field| field.id != id);
        Ok(())
    }

    /// Makes room for a column that a file has.
    fn take(&mut self, field: &Field, file: &str) -> Result<()> {
        if *field.data_type() == DataType::Null {
            return Ok(());
        }
        let refuse = |found: String, wanted: Option<String>, why: &str| {
            Error::Drift(Box::new(Drift {
                table: self.table.clone(),
                column: field.name().clone(),
                file: file.to_owned(),
                found,
                wanted,
                why: why.to_owned(),
            }))
        };
        let Some(kind) = schema::table_type(field.data_type()) else {
            return Err(refuse(field.data_type().to_string(), None, "Iceberg has no such type"));
        };
        let Some(present) = self.fields.iter().find(|present| present.name == *field.name()) else {
            let near = self.fields.iter().find(|present| present.name.eq_ignore_ascii_case(field.name()));
            if let Some(near) = near {
                let why =
                    format!("it differs from column {} only in case, which many engines do not tell apart", near.name);
                return Err(refuse(type_word(&kind), Some(near.field_type.to_string()), &why));
            }
            let taken =
                |spec: &iceberg::spec::PartitionSpecRef| spec.fields().iter().any(|part| part.name == *field.name());
            if self.metadata.partition_specs_iter().any(taken) {
                return Err(refuse(type_word(&kind), None, "a partition field has that name"));
            }
            return self.add(field.name(), &kind);
        };
        let Some(wider) = wider(&present.field_type, &kind) else { return Ok(()) };
        let old = present.field_type.to_string();
        let id = present.id;
        let parts = |spec: &iceberg::spec::PartitionSpecRef| spec.fields().iter().any(|part| part.source_id == id);
        if self.metadata.partition_specs_iter().any(parts) {
            return Err(refuse(wider.to_string(), Some(old), "the table is partitioned by it"));
        }
        let changed =
            NestedField { field_type: Box::new(Type::Primitive(wider.clone())), ..NestedField::clone(present) };
        self.put(changed);
        self.done.widened.push((field.name().clone(), old, wider.to_string()));
        Ok(())
    }

    fn add(&mut self, name: &str, kind: &DataType) -> Result<()> {
        let numbered = numbered(&Field::new(name, kind.clone(), true), &mut self.next_id);
        let made = arrow_schema_to_schema(&ArrowSchema::new(vec![numbered]))
            .map_err(Error::iceberg("add a column to", self.table))?;
        self.fields.extend(made.as_struct().fields().iter().cloned());
        self.done.added.push(name.to_owned());
        Ok(())
    }

    fn finish(mut self) -> Result<Evolution> {
        let present = self.metadata.current_schema();
        if self.fields != present.as_struct().fields() {
            let schema = Schema::builder()
                .with_fields(self.fields)
                .with_identifier_field_ids(present.identifier_field_ids())
                .build()
                .map_err(Error::iceberg("change the columns of", self.table))?;
            self.done.schema = Some(schema);
        }
        Ok(self.done)
    }
}

/// The type that holds values of both, when the present one has to widen for that.
fn wider(present: &Type, found: &DataType) -> Option<PrimitiveType> {
    match (present.as_primitive_type()?, found) {
        (PrimitiveType::Int, DataType::Int64) => Some(PrimitiveType::Long),
        (PrimitiveType::Float, DataType::Float64) => Some(PrimitiveType::Double),
        (PrimitiveType::Decimal { precision, scale }, DataType::Decimal128(wide, same))
            if i64::from(*scale) == i64::from(*same) && u32::from(*wide) > *precision =>
        {
            Some(PrimitiveType::Decimal { precision: u32::from(*wide), scale: *scale })
        }
        _ => None,
    }
}

/// A field with ids for itself and everything in it, counted up from `next`.
fn numbered(field: &Field, next: &mut i32) -> Field {
    let id = *next;
    *next += 1;
    let mut child = |field: &Arc<Field>| Arc::new(numbered(field, next));
    let kind = match field.data_type() {
        DataType::List(element) => DataType::List(child(element)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(child).collect()),
        other => other.clone(),
    };
    Field::new(field.name(), kind, field.is_nullable())
        .with_metadata(HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]))
}

impl IcebergLake {
    /// Renames columns (new, old), which keep their ids, and lets columns be null that had to have values. `false`: it was so before.
    ///
    /// # Errors
    /// `LH0603` when a column is not there, or the new name is taken.
    pub fn change_columns(&self, table: &TableName, renames: &[(String, String)], optional: &[String]) -> Result<bool> {
        self.columns(&ChangeColumns { table, renames, optional, dropped: &[] })
    }

    /// Takes columns out of a table. Files keep their values, which older snapshots show.
    ///
    /// # Errors
    /// `LH0603` when a column is not there, or something else of the table needs it.
    pub fn drop_columns(&self, table: &TableName, dropped: &[String]) -> Result<bool> {
        self.columns(&ChangeColumns { table, renames: &[], optional: &[], dropped })
    }

    fn columns(&self, change: &ChangeColumns<'_>) -> Result<bool> {
        Ok(matches!(self.act(change, "columns")?, Landing::Landed { .. }))
    }
}

struct ChangeColumns<'a> {
    table: &'a TableName,
    renames: &'a [(String, String)],
    optional: &'a [String],
    dropped: &'a [String],
}

#[async_trait]
impl Action for ChangeColumns<'_> {
    fn table(&self) -> &TableName {
        self.table
    }

    async fn prepare(&self, on: &On<'_>) -> Result<Step> {
        let head = head(on, self.table)?;
        if let Some((new, old)) = self.renames.iter().find(|(new, old)| !is_name(new) || !is_name(old)) {
            return Err(Error::shape(
                self.table,
                format!("cannot have column {old} under the name `{}`", new.escape_debug()),
            ));
        }
        let evolved = without(self.table, &head.metadata, self.renames, self.optional, self.dropped)?;
        let Some(schema) = evolved.schema else {
            return Ok(Step::Nothing { snapshot_id: None });
        };
        let mut delta = Delta::on(Base::Existing(head.clone()));
        delta.schema = Some(schema);
        Ok(Step::Change(Box::new(delta)))
    }
}

/// A name that is not ours and that a terminal can show.
fn is_name(name: &str) -> bool {
    !name.trim().is_empty() && !name.starts_with("_lakehost_") && !name.chars().any(char::is_control)
}
