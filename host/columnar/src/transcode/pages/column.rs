//! What is decided once per run: where each output column comes from, and what has to be decoded before rows can be judged.

use arrow_schema::DataType;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::schema::types::ColumnDescPtr;

use super::super::{Origin, Plan, Transcoder};
use crate::cast::{Cast, cast_kind};
use crate::error::{Error, Result};
use crate::mapping::ParquetScan;
use crate::output::Constant;
use crate::page::arrow::{kind_of, makes, same_bytes};
use crate::page::convert::Conversion;
use crate::page::values::Kind;

/// A source column on its way to the output.
pub(super) struct SourceColumn {
    /// Its name in the scan.
    pub name: String,
    /// The column chunk in every row group; `None`: the file lacks it, or it is of the type *null*.
    pub leaf: Option<usize>,
    /// The type that the row logic sees.
    pub scan_type: DataType,
    /// From the file's values to those of `scan_type`; `None`: through Arrow.
    pub to_scan: Option<Conversion>,
    /// From there to the values of the output column; `None`: not written, or through Arrow.
    pub to_output: Option<Conversion>,
    /// Position in the output.
    pub output: Option<usize>,
    /// Byte strings have to be text.
    pub text: bool,
    /// Decoded before rows are judged.
    pub early: bool,
}

impl SourceColumn {
    /// The whole way; `None`: through Arrow.
    pub fn conversion(&self) -> Option<Conversion> {
        Some(self.to_scan.as_ref()?.then(self.to_output.as_ref()?))
    }

    /// Its values in dropped rows come from the pages that are read for the output.
    pub fn gathers_late(&self) -> bool {
        !self.early && self.leaf.is_some() && self.output.is_some()
    }
}

/// Where an output column's values come from.
#[derive(Clone, Copy)]
pub(super) enum OutputSource {
    /// A position in [`Columns::sources`].
    Source(usize),
    /// The row logic's field at this position.
    Step(usize),
    /// One value, or null: a position among the output's own constants.
    Same,
}

pub(super) struct OutputColumn {
    pub source: OutputSource,
    pub constant: Option<Constant>,
    pub descriptor: ColumnDescPtr,
}

/// All columns of a run.
pub(super) struct Columns {
    /// Source columns that are read or written, in the order of the scan.
    pub sources: Vec<SourceColumn>,
    pub outputs: Vec<OutputColumn>,
    /// Positions in `sources` of the row logic's columns, in its order.
    pub reads: Vec<usize>,
    /// Output positions of the partition columns.
    pub partition: Vec<usize>,
}

impl Columns {
    /// `None`: some column is not for the page path.
    pub fn new(run: &Transcoder<'_>, scan: &ParquetScan, plan: &Plan) -> Result<Option<Self>> {
        let schema = plan.layout.arrow();
        // One leaf for each field, and of a type that is written here.
        if plan.layout.leaves().iter().any(|leaves| *leaves != 1) {
            return Ok(None);
        }
        let descriptors: Vec<ColumnDescPtr> = (0..schema.fields().len()).map(|at| plan.layout.column(at)).collect();
        let written = schema.fields().iter().zip(&descriptors);
        if !written
            .into_iter()
            .all(|(field, column)| Kind::of(column).is_some_and(|kind| makes(kind, field.data_type())))
        {
            return Ok(None);
        }
        let reads = run.step.map_or(&[][..], |step| step.reads());
        let partition: Vec<usize> =
            run.options.partition.iter().filter_map(|field| schema.index_of(&field.column).ok()).collect();
        let mut sources = Vec::new();
        let mut source_of = vec![None; scan.columns().len()];
        for (position, column) in scan.columns().iter().enumerate() {
            if !plan.wanted.contains(column.field.name()) {
                continue;
            }
            if column.nested {
                return Ok(None);
            }
            let output = plan.origins.iter().position(|origin| *origin == Origin::Source(position));
            let file_type = column.root.map(|root| scan.file().arrow_schema().field(root).data_type());
            let file_kind = column
                .leaf
                .and_then(|leaf| Kind::of(&scan.file().metadata().file_metadata().schema_descr().column(leaf)));
            let scan_type = column.field.data_type().clone();
            let absent = file_type.is_none_or(|kind| *kind == DataType::Null);
            let (to_scan, scan_kind) = match (file_type, file_kind) {
                (Some(from), Some(kind)) if same_bytes(from, &scan_type) => {
                    (Conversion::try_new(kind, from, kind, &scan_type), Some(kind))
                }
                (Some(from), Some(kind)) => {
                    let scan_kind = kind_of(&scan_type);
                    (scan_kind.and_then(|to| Conversion::try_new(kind, from, to, &scan_type)), scan_kind)
                }
                _ => (None, None),
            };
            let output_type = output.map(|output| schema.field(output).data_type());
            let to_output = output.zip(scan_kind).and_then(|(output, scan_kind)| {
                Conversion::try_new(
                    scan_kind,
                    &scan_type,
                    Kind::of(&descriptors[output])?,
                    schema.field(output).data_type(),
                )
            });
            let checked = column.cast == Cast::Checked
                || output_type.is_some_and(|to| cast_kind(&scan_type, to) == Some(Cast::Checked));
            let read = reads.iter().any(|read| read == column.field.name());
            let early = read || checked || output.is_some_and(|output| partition.contains(&output));
            source_of[position] = Some(sources.len());
            sources.push(SourceColumn {
                name: column.field.name().clone(),
                leaf: if absent { None } else { column.leaf },
                text: file_type.is_some_and(|kind| matches!(kind, DataType::Utf8 | DataType::LargeUtf8)),
                scan_type,
                to_scan,
                to_output,
                output,
                early,
            });
        }
        let missing = |name: &str| Error::MissingColumn {
            name: scan.file().name().to_owned(),
            column: name.to_owned(),
            looked_for: vec![name.to_owned()],
        };
        let reads = reads
            .iter()
            .map(|read| sources.iter().position(|source| source.name == *read).ok_or_else(|| missing(read)))
            .collect::<Result<_>>()?;
        let outputs = plan.origins.iter().zip(descriptors).map(|(origin, descriptor)| {
            let (source, constant) = match origin {
                Origin::Source(position) => match source_of.get(*position).copied().flatten() {
                    Some(source) => (OutputSource::Source(source), None),
                    None => (OutputSource::Same, None),
                },
                Origin::Step(position) => (OutputSource::Step(*position), None),
                Origin::Constant(constant) => (OutputSource::Same, Some(constant.clone())),
                Origin::Null => (OutputSource::Same, None),
            };
            OutputColumn { source, constant, descriptor }
        });
        Ok(Some(Self { outputs: outputs.collect(), sources, reads, partition }))
    }

    /// Output columns that are encoded from pages or arrays.
    pub fn encoded(&self) -> usize {
        self.outputs.iter().filter(|output| !matches!(output.source, OutputSource::Same)).count()
    }

    /// Memory that one row group takes: decoded early columns and encoded output, and what each worker adds with its column.
    pub fn needs(&self, scan: &ParquetScan, group: usize) -> Needs {
        let rows = scan.group_rows(group) as u64;
        let new = self.outputs.iter().filter(|output| matches!(output.source, OutputSource::Step(_))).count() as u64;
        // Codes, routing, and two copies of each column of the row logic.
        let mut held_bytes = rows.saturating_mul(5 + 16 * new);
        let mut worker_bytes = rows.saturating_mul(8);
        for (source, chunk) in
            self.sources.iter().filter_map(|source| Some((source, chunk(scan, group, source.leaf?)?)))
        {
            let packed = chunk.compressed_size().unsigned_abs();
            let decoded = chunk.uncompressed_size().unsigned_abs().max(rows.saturating_mul(4));
            // Encoded output is about as large as the input; nulls cost a byte a row while they are decoded.
            let early = if source.early { decoded.saturating_add(rows) } else { 0 };
            held_bytes = packed.saturating_add(early).saturating_add(held_bytes);
            worker_bytes = decoded.saturating_mul(2).saturating_add(packed).max(worker_bytes);
        }
        Needs { held_bytes, worker_bytes }
    }
}

/// Memory for a row group.
pub(super) struct Needs {
    /// From its first decoded column until it is written.
    pub held_bytes: u64,
    /// What a worker needs beside that.
    pub worker_bytes: u64,
}

/// The footer entry of a column chunk.
pub(super) fn chunk(scan: &ParquetScan, group: usize, leaf: usize) -> Option<&ColumnChunkMetaData> {
    scan.file().metadata().row_groups().get(group)?.columns().get(leaf)
}
