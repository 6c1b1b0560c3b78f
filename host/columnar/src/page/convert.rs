//! Casts of whole dictionaries and of PLAIN values, by the same exact cast as on the Arrow path.
//!
//! A dictionary has few entries, so a cast column costs next to nothing: ids stay as they are. An entry that does not fit is marked; it
//! does no harm as long as only dropped rows use it.

use super::arrow::{from_array, makes, same_bytes, to_array};
use super::decode::{Body, Chunk, Segment};
use super::fault::{PageFault, PageResult, corrupt};
use super::values::{Kind, Values};
use arrow_array::{Array, make_array};
use arrow_schema::DataType;

/// How the values of a column become those of another type, in any number of exact casts.
#[derive(Debug, Clone)]
pub(crate) struct Conversion {
    to: DataType,
    hops: Vec<Hop>,
}

/// One cast that changes the bytes.
#[derive(Debug, Clone)]
struct Hop {
    from: DataType,
    to: DataType,
    kind: Kind,
}

/// Converted values, and which of them did not fit (1 = failed; its value is then a filler).
pub(crate) struct Converted {
    pub values: Values,
    pub failed: Option<Vec<u8>>,
}

/// The conversion of values that already have the wanted type.
pub(crate) static AS_IT_IS: Conversion = Conversion { to: DataType::Null, hops: Vec::new() };

impl Conversion {
    /// From values of `from_kind` that mean `from` to values of `to_kind` that mean `to`. `None`: not here.
    pub(crate) fn try_new(from_kind: Kind, from: &DataType, to_kind: Kind, to: &DataType) -> Option<Self> {
        if !makes(from_kind, from) || !makes(to_kind, to) {
            return None;
        }
        let same = from_kind == to_kind && same_bytes(from, to);
        let hop = Hop { from: from.clone(), to: to.clone(), kind: to_kind };
        Some(Self { to: to.clone(), hops: if same { Vec::new() } else { vec![hop] } })
    }

    /// This conversion and then another.
    pub(crate) fn then(&self, other: &Conversion) -> Self {
        Self { to: other.to.clone(), hops: self.hops.iter().chain(&other.hops).cloned().collect() }
    }

    /// The type after the conversion.
    pub(crate) fn to(&self) -> &DataType {
        &self.to
    }

    /// True when the values are the same bytes before and after.
    pub(crate) fn keeps_values(&self) -> bool {
        self.hops.is_empty()
    }

    /// Converts dense values, place by place.
    ///
    /// # Errors
    /// When values of that type cannot be converted at all.
    pub(crate) fn apply(&self, values: &Values) -> PageResult<Converted> {
        let mut converted = Converted { values: values.clone(), failed: None };
        for hop in &self.hops {
            let next = hop.apply(converted.values)?;
            converted.values = next.values;
            converted.failed = match (converted.failed, next.failed) {
                (Some(earlier), Some(later)) => Some(earlier.iter().zip(&later).map(|(a, b)| a | b).collect()),
                (earlier, later) => earlier.or(later),
            };
        }
        Ok(converted)
    }
}

impl Hop {
    fn apply(&self, values: Values) -> PageResult<Converted> {
        let len = values.len();
        let fault = |error: &dyn std::fmt::Display| PageFault::Corrupt(error.to_string());
        let array = to_array(values, None, &self.from)?;
        let (array, failed) = crate::cast_exact(&array, &self.to).map_err(|error| fault(&error))?;
        let failed = failed.filter(|failed| failed.count_set_bits() > 0);
        let failed: Option<Vec<u8>> = failed.map(|failed| failed.iter().map(u8::from).collect());
        // Without nulls every value stays in its place, fillers included.
        let data = array.to_data().into_builder().nulls(None).build().map_err(|error| fault(&error))?;
        match from_array(&make_array(data), self.kind)? {
            Some(converted) if converted.len() == len => Ok(Converted { values: converted, failed }),
            _ => corrupt(format!("values of {} did not become {}", self.from, self.to)),
        }
    }
}

/// A column chunk after its conversion.
pub(crate) struct ConvertedChunk {
    pub chunk: Chunk,
    /// 1 = the row's value did not fit; `None`: all fit.
    pub failed_rows: Option<Vec<u8>>,
}

/// Converts a whole chunk and finds the rows whose value does not fit.
pub(crate) fn convert_chunk(chunk: Chunk, conversion: &Conversion) -> PageResult<ConvertedChunk> {
    if conversion.keeps_values() {
        return Ok(ConvertedChunk { chunk, failed_rows: None });
    }
    let (dictionary, failed_entries) = match &chunk.dictionary {
        None => (None, None),
        Some(dictionary) => {
            let converted = conversion.apply(dictionary)?;
            (Some(converted.values), converted.failed)
        }
    };
    let mut segments = Vec::with_capacity(chunk.segments.len());
    let mut failed_rows: Option<Vec<u8>> = None;
    let mut done = 0;
    for segment in chunk.segments {
        let rows = segment.rows;
        let (body, failed) = match segment.body {
            Body::Ids(ids) => {
                let failed = failed_entries
                    .as_ref()
                    .map(|entries| ids.iter().map(|id| entries[*id as usize]).collect::<Vec<u8>>());
                (Body::Ids(ids), failed.filter(|failed| failed.contains(&1)))
            }
            Body::Plain(values) => {
                let converted = conversion.apply(&values)?;
                (Body::Plain(converted.values), converted.failed)
            }
        };
        if let Some(failed) = failed {
            let all = failed_rows.get_or_insert_with(|| vec![0; done]);
            all.resize(done, 0);
            match &segment.valid {
                None => all.extend_from_slice(&failed),
                Some(valid) => {
                    let mut next = failed.iter();
                    all.extend(
                        valid.iter().map(|level| if *level == 1 { next.next().copied().unwrap_or(0) } else { 0 }),
                    );
                }
            }
        }
        done += rows;
        segments.push(Segment { rows, valid: segment.valid, body });
    }
    if let Some(failed) = &mut failed_rows {
        failed.resize(done, 0);
    }
    Ok(ConvertedChunk { chunk: Chunk { dictionary, segments }, failed_rows })
}
