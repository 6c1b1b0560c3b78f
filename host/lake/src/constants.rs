//! Columns that a data file may leave to its partition.
//!
//! A file of an identity-partitioned table need not hold the partition's column: its value is in the manifest alone. The Iceberg library reads
//! such a column as null unless each scan task is told the partition spec of its file, which the library's own planning does not do.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::scan::FileScanTask;
use iceberg::spec::{
    Literal, ManifestContentType, ManifestList, PartitionSpec, PrimitiveLiteral, PrimitiveType, SchemaRef, SnapshotRef,
    Struct, Transform,
};
use iceberg::table::Table;

/// The identity fields of one spec, as far as the schema that is read has their columns.
#[derive(Debug)]
pub struct Constants {
    /// Names these fields and no others.
    spec: Arc<PartitionSpec>,
    /// Where each stands in a file's partition, and the type of its column.
    fields: Vec<(usize, PrimitiveType)>,
}

impl Constants {
    /// `None`: nothing of the spec is constant.
    fn of(spec: &PartitionSpec, schema: &SchemaRef) -> iceberg::Result<Option<Self>> {
        let mut builder = PartitionSpec::builder(Arc::clone(schema)).with_spec_id(spec.spec_id());
        let mut fields = Vec::new();
        for (position, field) in spec.fields().iter().enumerate() {
            if field.transform != Transform::Identity {
                continue;
            }
            // A column that was dropped is not read.
            let Some(column) = schema.field_by_id(field.source_id) else { continue };
            let Some(kind) = column.field_type.as_primitive_type() else { continue };
            // The name is ours: the one in the table may be that of another column by now.
            builder = builder.add_partition_field(
                &column.name,
                format!("__lakehost_constant_{position}"),
                Transform::Identity,
            )?;
            fields.push((position, kind.clone()));
        }
        if fields.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self { spec: Arc::new(builder.build()?), fields }))
    }

    fn apply(&self, task: &mut FileScanTask) {
        let Some(partition) = task.partition.take() else { return };
        let values = self.fields.iter().map(|(position, kind)| {
            partition.fields().get(*position).and_then(Option::as_ref).map(|value| promoted(value, kind))
        });
        task.partition = Some(Struct::from_iter(values));
        task.partition_spec = Some(Arc::clone(&self.spec));
    }
}

/// A value that was written before its column became wider.
fn promoted(value: &Literal, kind: &PrimitiveType) -> Literal {
    match (value, kind) {
        (Literal::Primitive(PrimitiveLiteral::Int(value)), PrimitiveType::Long) => Literal::long(i64::from(*value)),
        (Literal::Primitive(PrimitiveLiteral::Float(value)), PrimitiveType::Double) => {
            Literal::double(f64::from(value.into_inner()))
        }
        _ => value.clone(),
    }
}

/// What the files of a snapshot leave to their partitions.
#[derive(Debug)]
pub enum FileConstants {
    /// Every file is of one spec; `None`: it has no identity field.
    Same(Option<Arc<Constants>>),
    /// By file, for tables whose spec has changed.
    ByFile(HashMap<String, Arc<Constants>>),
}

impl FileConstants {
    /// Reads manifests only when a file's spec cannot be told otherwise.
    ///
    /// # Errors
    /// When a manifest cannot be read.
    pub async fn of(table: &Table, snapshot: &SnapshotRef, schema: &SchemaRef) -> iceberg::Result<Self> {
        let metadata = table.metadata();
        let mut by_spec: HashMap<i32, Arc<Constants>> = HashMap::new();
        for spec in metadata.partition_specs_iter() {
            if let Some(constants) = Constants::of(spec, schema)? {
                by_spec.insert(spec.spec_id(), Arc::new(constants));
            }
        }
        if by_spec.is_empty() || metadata.partition_specs_iter().len() == 1 {
            return Ok(Self::Same(by_spec.into_values().next()));
        }
        let bytes = table.file_io().new_input(snapshot.manifest_list())?.read().await?;
        let list = ManifestList::parse_with_version(&bytes, metadata.format_version())?;
        let mut by_file = HashMap::new();
        for manifest in list.entries().iter().filter(|manifest| manifest.content == ManifestContentType::Data) {
            let Some(constants) = by_spec.get(&manifest.partition_spec_id) else { continue };
            let loaded = manifest.load_manifest(table.file_io()).await?;
            for entry in loaded.entries().iter().filter(|entry| entry.is_alive()) {
                by_file.insert(entry.file_path().to_owned(), Arc::clone(constants));
            }
        }
        Ok(Self::ByFile(by_file))
    }

    /// Tells a task the constants of its file.
    pub fn apply(&self, task: &mut FileScanTask) {
        let constants = match self {
            Self::Same(constants) => constants.as_ref(),
            Self::ByFile(by_file) => by_file.get(&task.data_file_path),
        };
        if let Some(constants) = constants {
            constants.apply(task);
        }
    }
}
