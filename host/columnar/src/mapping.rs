//! From the columns that a file has to the columns that the source promised.
//!
//! A promised column is found by name, the first upstream name that the file has wins, letter by letter. What the file has beyond the promise
//! is refused or passed on; what it lacks is null if the promise allows it. Types are checked here once, before a row is read.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::bytes::SourceChunks;
use crate::cast::{Cast, cast_exact, cast_kind};
use crate::error::{Error, Result, guarded};
use crate::footer::ParquetFile;

/// Rows that are decoded, cleaned and judged together when nobody says otherwise: few enough for their columns to stay in the cache between the
/// host and a component.
pub(crate) const SLICE_ROWS: usize = 16 << 10;

/// Where a promised column comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnMap {
    /// Upstream names, the preferred one first; none = the column's own name.
    pub upstream: Vec<String>,
    /// The promised name, a field of [`Projection::schema`].
    pub name: String,
    /// A file may lack it: then it is null.
    pub optional: bool,
}

/// What to do with columns that a file has and nobody promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// The file is refused, by the name of the column.
    Refuse,
    /// They follow behind the promised ones, under their own name and type.
    Pass,
}

/// The columns that a source promises, and how they are found in its files.
#[derive(Clone, Debug)]
pub struct Projection {
    /// Promised names and types, in order.
    pub schema: SchemaRef,
    /// Where they come from. A field that is not listed is required under its own name.
    pub columns: Vec<ColumnMap>,
    /// What happens with other columns.
    pub unlisted: Unlisted,
    /// Rows in a batch; 0 = the host decides.
    pub batch_rows: usize,
}

/// One column of a scan: where it comes from and how it becomes the wanted type.
#[derive(Clone, Debug)]
pub struct MappedColumn {
    /// Wanted name and type. Always nullable: a value that does not fit leaves a null.
    pub field: FieldRef,
    /// The (first) leaf column in the file; `None` = absent upstream, all null.
    pub leaf: Option<usize>,
    /// The column's name in the file.
    pub upstream_name: Option<String>,
    /// From the file's type to the wanted one.
    pub cast: Cast,
    /// Made of several leaves, or repeated: only the Arrow path reads it.
    pub nested: bool,
    /// Position among the file's top-level columns.
    pub(crate) root: Option<usize>,
}

/// A file and how its columns become the promised ones.
#[derive(Clone, Debug)]
pub struct ParquetScan {
    file: Arc<ParquetFile>,
    schema: SchemaRef,
    columns: Arc<[MappedColumn]>,
    batch_rows: usize,
}

/// Columns of some rows, as the promise has them.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The columns, failed values being null.
    pub batch: RecordBatch,
    /// Which rows failed, for each column where any did.
    pub failed: Vec<CastFailure>,
}

/// Rows of one column whose value did not fit the wanted type.
#[derive(Clone, Debug)]
pub struct CastFailure {
    /// The column, by its wanted name.
    pub column: String,
    /// Set = failed.
    pub rows: BooleanBuffer,
    /// The column as the file has it, when the file is where the value did not fit.
    pub raw: Option<ArrayRef>,
}

impl ParquetScan {
    /// Map the columns of `file`; without a projection they are taken as they are.
    ///
    /// # Errors
    ///
    /// [`Error::MissingColumn`], [`Error::UnlistedColumn`], [`Error::Schema`] when no exact cast leads to the promised type,
    /// [`Error::Corrupt`] when two columns of the file have one name.
    pub fn try_new(file: Arc<ParquetFile>, projection: Option<&Projection>) -> Result<Self> {
        let found = Found::new(&file)?;
        let mut columns = Vec::new();
        let mut taken = HashSet::new();
        if let Some(projection) = projection {
            for field in projection.schema.fields() {
                let column = found.map(field, projection)?;
                taken.extend(column.root);
                columns.push(column);
            }
        }
        for (root, field) in file.arrow_schema().fields().iter().enumerate() {
            if taken.contains(&root) {
                continue;
            }
            let name = field.name();
            if projection.is_some_and(|projection| projection.unlisted == Unlisted::Refuse) {
                return Err(Error::UnlistedColumn { name: file.name().to_owned(), column: name.clone() });
            }
            if columns.iter().any(|column: &MappedColumn| column.field.name() == name) {
                let detail = format!("a second column {name} beside the promised one");
                return Err(Error::unsupported(file.name(), detail));
            }
            columns.push(found.column(root, Arc::new(nullable(field)), Cast::None));
        }
        let fields: Vec<FieldRef> = columns.iter().map(|column| column.field.clone()).collect();
        let batch_rows = match projection.map_or(0, |projection| projection.batch_rows) {
            0 => SLICE_ROWS,
            rows => rows,
        };
        Ok(Self { schema: Arc::new(Schema::new(fields)), columns: columns.into(), batch_rows, file })
    }

    /// The columns of the scan. All are nullable.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Arc<ParquetFile> {
        &self.file
    }

    /// The columns of the scan and where they come from, in the order of [`ParquetScan::schema`].
    #[must_use]
    pub fn columns(&self) -> &[MappedColumn] {
        &self.columns
    }

    /// Rows in a batch, as the projection wants it.
    #[must_use]
    pub fn batch_rows(&self) -> usize {
        self.batch_rows
    }

    /// Row groups of the file.
    #[must_use]
    pub fn group_count(&self) -> usize {
        self.file.metadata().num_row_groups()
    }

    /// Rows of one row group; 0 when there is none of that number.
    #[must_use]
    pub fn group_rows(&self, group: usize) -> usize {
        self.file.metadata().row_groups().get(group).map_or(0, |group| usize::try_from(group.num_rows()).unwrap_or(0))
    }

    /// Decode the named columns of one row group, cast exactly.
    ///
    /// # Errors
    ///
    /// [`Error::MissingColumn`] for a name that the scan does not have; [`Error::Corrupt`] when the pages cannot be read.
    pub fn read_group(&self, group: usize, columns: &[String]) -> Result<Decoded> {
        let slices = self.slices(group, columns, self.group_rows(group).max(1))?;
        let schema = slices.schema.clone();
        let mut parts: Vec<Decoded> = slices.collect::<Result<_>>()?;
        match parts.len() {
            0 => Ok(Decoded { batch: RecordBatch::new_empty(schema), failed: Vec::new() }),
            1 => Ok(parts.swap_remove(0)),
            _ => concat(&self.file, &schema, &parts),
        }
    }

    /// Decode the named columns of one row group, `rows` at a time.
    pub fn slices(&self, group: usize, columns: &[String], rows: usize) -> Result<ScanSlices> {
        let wanted = columns.iter().map(|name| self.column(name).cloned()).collect::<Result<Vec<_>>>()?;
        let name = self.file.name();
        if group >= self.group_count() {
            return Err(Error::corrupt(name, format!("it has {} row groups, not {}", self.group_count(), group + 1)));
        }
        let mut roots: Vec<usize> = wanted.iter().filter_map(|column| column.root).collect();
        roots.sort_unstable();
        roots.dedup();
        let reader = if roots.is_empty() {
            None
        } else {
            let descriptor = self.file.metadata().file_metadata().schema_descr();
            let mask = ProjectionMask::roots(descriptor, roots.iter().copied());
            let source = SourceChunks::new(self.file.bytes().clone());
            let chunks = source.clone();
            let reader = guarded(name, || {
                ParquetRecordBatchReaderBuilder::new_with_metadata(chunks, self.file.reader_metadata().clone())
                    .with_row_groups(vec![group])
                    .with_projection(mask)
                    .with_batch_size(rows.max(1))
                    .build()
                    .map_err(|error| Error::decode(name, error))
            })
            .map_err(|error| source.take_fault().map_or(error, Error::Io))?;
            Some((reader, source))
        };
        let fields: Vec<FieldRef> = wanted.iter().map(|column| column.field.clone()).collect();
        Ok(ScanSlices {
            file: self.file.clone(),
            schema: Arc::new(Schema::new(fields)),
            positions: wanted
                .iter()
                .map(|column| column.root.and_then(|root| roots.binary_search(&root).ok()))
                .collect(),
            wanted,
            reader,
            left: self.group_rows(group),
            rows: rows.max(1),
        })
    }

    fn column(&self, name: &str) -> Result<&MappedColumn> {
        self.columns.iter().find(|column| column.field.name() == name).ok_or_else(|| Error::MissingColumn {
            name: self.file.name().to_owned(),
            column: name.to_owned(),
            looked_for: vec![name.to_owned()],
        })
    }
}

/// The slices of one row group, in order.
pub struct ScanSlices {
    file: Arc<ParquetFile>,
    schema: SchemaRef,
    wanted: Vec<MappedColumn>,
    /// Where each wanted column is in the reader's batches.
    positions: Vec<Option<usize>>,
    reader: Option<(ParquetRecordBatchReader, SourceChunks)>,
    left: usize,
    rows: usize,
}

impl ScanSlices {
    fn decode(&mut self) -> Result<Option<Decoded>> {
        if self.left == 0 {
            return Ok(None);
        }
        let name = self.file.name();
        let arrays = match &mut self.reader {
            None => Vec::new(),
            Some((reader, source)) => {
                let batch = guarded(name, || match reader.next() {
                    Some(batch) => batch.map_err(|error| Error::corrupt(name, error)),
                    None => Err(Error::corrupt(name, "its pages hold fewer rows than the footer says")),
                })
                .map_err(|error| source.take_fault().map_or(error, Error::Io))?;
                batch.columns().to_vec()
            }
        };
        let rows = arrays.first().map_or(self.rows.min(self.left), |array| array.len());
        if rows == 0 || rows > self.left {
            return Err(Error::corrupt(name, "its pages and its footer disagree on the number of rows"));
        }
        self.left -= rows;
        let mut failed = Vec::new();
        let mut columns = Vec::with_capacity(self.wanted.len());
        for (column, position) in self.wanted.iter().zip(&self.positions) {
            let wanted = column.field.data_type();
            let Some(array) = position.and_then(|position| arrays.get(position)) else {
                columns.push(new_null_array(wanted, rows));
                continue;
            };
            let (cast, failures) = cast_named(column.field.name(), array, wanted)?;
            columns.push(cast);
            if let Some(rows) = failures {
                let raw = Some(array.clone());
                failed.push(CastFailure { column: column.field.name().clone(), rows, raw });
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|error| Error::corrupt(name, error))?;
        Ok(Some(Decoded { batch, failed }))
    }
}

impl Iterator for ScanSlices {
    type Item = Result<Decoded>;

    fn next(&mut self) -> Option<Self::Item> {
        let decoded = self.decode().transpose();
        if matches!(decoded, Some(Err(_))) {
            self.left = 0;
        }
        decoded
    }
}

/// [`cast_exact`] with the column's name in the error.
pub(crate) fn cast_named(column: &str, array: &ArrayRef, to: &DataType) -> Result<(ArrayRef, Option<BooleanBuffer>)> {
    cast_exact(array, to).map_err(|error| match error {
        Error::Schema { wanted, found, .. } => Error::Schema { column: column.to_owned(), wanted, found },
        Error::Encode { detail, .. } => Error::Encode { what: format!("column {column}"), detail },
        other => other,
    })
}

fn concat(file: &ParquetFile, schema: &SchemaRef, parts: &[Decoded]) -> Result<Decoded> {
    let batch = arrow_select::concat::concat_batches(schema, parts.iter().map(|part| &part.batch))
        .map_err(|error| Error::corrupt(file.name(), error))?;
    let mut failed = Vec::new();
    for field in schema.fields() {
        let of =
            |part: &Decoded| part.failed.iter().find(|failure| failure.column == *field.name()).map(|f| f.rows.clone());
        if parts.iter().all(|part| of(part).is_none()) {
            continue;
        }
        let mut rows = arrow_buffer::BooleanBufferBuilder::new(batch.num_rows());
        for part in parts {
            match of(part) {
                Some(failures) => rows.append_buffer(&failures),
                None => rows.append_n(part.batch.num_rows(), false),
            }
        }
        failed.push(CastFailure { column: field.name().clone(), rows: rows.finish(), raw: None });
    }
    Ok(Decoded { batch, failed })
}

fn nullable(field: &Field) -> Field {
    field.clone().with_nullable(true)
}

/// The top-level columns of a file.
struct Found<'a> {
    file: &'a ParquetFile,
    /// For each: first leaf and whether it is nested.
    roots: Vec<(usize, bool)>,
}

impl<'a> Found<'a> {
    fn new(file: &'a ParquetFile) -> Result<Self> {
        let fields = file.arrow_schema().fields();
        let descriptor = file.metadata().file_metadata().schema_descr();
        let mut roots: Vec<Option<(usize, bool)>> = vec![None; fields.len()];
        for leaf in 0..descriptor.num_columns() {
            let flat =
                descriptor.column(leaf).path().parts().len() == 1 && descriptor.column(leaf).max_rep_level() == 0;
            if let Some(root) = roots.get_mut(descriptor.get_column_root_idx(leaf)) {
                *root = Some(root.map_or((leaf, !flat), |(first, _)| (first, true)));
            }
        }
        let mut names = HashSet::new();
        if let Some(twice) = fields.iter().find(|field| !names.insert(field.name())) {
            return Err(Error::corrupt(file.name(), format!("two columns are called {}", twice.name())));
        }
        let roots = roots
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::unsupported(file.name(), "a group without columns"))?;
        Ok(Self { file, roots })
    }

    fn column(&self, root: usize, field: FieldRef, cast: Cast) -> MappedColumn {
        let (leaf, nested) = self.roots[root];
        let upstream_name = Some(self.file.arrow_schema().field(root).name().clone());
        MappedColumn { field, leaf: Some(leaf), upstream_name, cast, nested, root: Some(root) }
    }

    /// Find the column for the promised `field`.
    fn map(&self, field: &Field, projection: &Projection) -> Result<MappedColumn> {
        let name = field.name();
        let map = projection.columns.iter().find(|column| column.name == *name);
        let own_name = std::slice::from_ref(name);
        let upstream = map.map(|map| map.upstream.as_slice()).filter(|names| !names.is_empty()).unwrap_or(own_name);
        let fields = self.file.arrow_schema().fields();
        let wanted = Arc::new(nullable(field));
        match upstream.iter().find_map(|name| fields.iter().position(|field| field.name() == name)) {
            Some(root) => {
                let found = fields[root].data_type();
                let cast = cast_kind(found, field.data_type()).ok_or_else(|| Error::Schema {
                    column: name.clone(),
                    wanted: field.data_type().to_string(),
                    found: found.to_string(),
                })?;
                Ok(self.column(root, wanted, cast))
            }
            None if map.is_some_and(|map| map.optional) => Ok(MappedColumn {
                field: wanted,
                leaf: None,
                upstream_name: None,
                cast: Cast::Widen,
                nested: false,
                root: None,
            }),
            None => Err(Error::MissingColumn {
                name: self.file.name().to_owned(),
                column: name.clone(),
                looked_for: upstream.to_vec(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use bytes::Bytes;

    use super::*;
    use crate::bytes::{ByteSource, MemoryBytes};
    use crate::testing;

    fn all(scan: &ParquetScan) -> Vec<String> {
        scan.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    /// Serves the footer, and loses the connection for everything before it.
    struct Lost(MemoryBytes, u64);

    impl ByteSource for Lost {
        fn name(&self) -> &str {
            self.0.name()
        }

        fn len(&self) -> u64 {
            self.0.len()
        }

        fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
            if offset > 0 && offset < self.1 {
                return Err(io::Error::new(io::ErrorKind::ConnectionReset, "connection reset"));
            }
            self.0.read_at(offset, len)
        }
    }

    #[test]
    fn a_lost_connection_is_not_a_damaged_file() {
        // Longer than what is read together with the footer.
        let bytes = testing::sample_file(60_000, |properties| properties);
        let body = testing::opened(bytes.clone()).body_bytes();
        let lost = Arc::new(Lost(MemoryBytes::new("a.parquet", bytes), body - (64 << 10)));
        let scan = ParquetScan::try_new(ParquetFile::open(lost).unwrap(), None).unwrap();
        let error = scan.read_group(0, &all(&scan)).unwrap_err();
        assert!(matches!(error, Error::Io(_)), "{error:?}");
    }

    #[test]
    fn damaged_pages_are_rows_or_errors_and_never_panics() {
        let bytes = testing::sample_file(2_000, |properties| properties);
        let file = testing::opened(bytes.clone());
        for position in (4..file.body_bytes() as usize).step_by(31) {
            let mut damaged = bytes.to_vec();
            damaged[position] ^= 0x81;
            let scan = ParquetScan::try_new(testing::opened(damaged), None).unwrap();
            match scan.read_group(0, &all(&scan)) {
                Ok(decoded) => assert_eq!(decoded.batch.num_rows(), 2_000),
                Err(error) => assert!(matches!(error, Error::Corrupt { .. }), "{error:?}"),
            }
        }
    }
}
