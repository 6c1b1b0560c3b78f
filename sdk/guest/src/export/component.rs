//! The generated traits, answered by an author's [`Source`] or [`Cleaner`].

use std::cell::RefCell;
use std::marker::PhantomData;

use arrow_schema::Schema;
use serde_json::Value;

use crate::bindings::cleaner::exports::lakehost::plugin::cleaner as cleaner_contract;
use crate::bindings::source::exports::lakehost::plugin::source as source_contract;
use crate::bindings::{batches, types};
use crate::config::{self, Config};
use crate::error::{PluginError, Result};
use crate::services::backend::{self, encode_schema, read_columns};
use crate::source::{PlanRequest, Reader, Rows, Source, Split};
use crate::{Cleaner, Patch};

type Answer<T> = std::result::Result<T, types::PluginError>;

/// A source plugin.
pub struct SourceComponent<S>(PhantomData<S>);

/// A configured source.
pub struct Connector<S>(S);

/// Rows of a source's own making.
pub struct OwnReader {
    schema: Vec<u8>,
    reader: RefCell<Box<dyn Reader>>,
}

impl<S: Source> source_contract::Guest for SourceComponent<S> {
    type Connector = Connector<S>;
    type Reader = OwnReader;

    fn spec() -> source_contract::SourceSpec {
        let spec = S::spec();
        source_contract::SourceSpec {
            name: spec.name.to_owned(),
            version: spec.version.to_owned(),
            description: spec.description.to_owned(),
            config_schema: S::Config::schema().to_json().to_string(),
            granularity: spec.granularity,
        }
    }

    fn asks(config: String) -> Answer<Vec<source_contract::Ask>> {
        Ok(S::asks(&config::parse(&config)?)?)
    }
}

impl<S: Source> source_contract::GuestConnector for Connector<S> {
    fn configure(config: String) -> Answer<source_contract::Connector> {
        Ok(source_contract::Connector::new(Self(S::configure(config::parse(&config)?)?)))
    }

    fn check(&self) -> Answer<()> {
        Ok(self.0.check()?)
    }

    fn discover(&self) -> Answer<Vec<source_contract::Dataset>> {
        let datasets = self.0.discover()?.into_iter().map(|dataset| -> Result<_> {
            Ok(source_contract::Dataset {
                schema: encode_schema(&dataset.schema)?,
                name: dataset.name,
                default_table: dataset.default_table,
                key: dataset.key,
                cursor: dataset.cursor,
                time_zone: dataset.time_zone,
            })
        });
        Ok(datasets.collect::<Result<_>>()?)
    }

    fn plan(&self, request: source_contract::PlanRequest) -> Answer<Vec<source_contract::Split>> {
        let splits = self.0.plan(&plan_request(request)?)?.into_iter().map(|split| source_contract::Split {
            id: split.id,
            description: split.description.to_string(),
            identity: split.identity,
            bytes: split.bytes,
        });
        Ok(splits.collect())
    }

    fn read(&self, split: source_contract::Split) -> Answer<source_contract::Rows> {
        let split = Split {
            description: parse_json("split description", &split.description)?,
            id: split.id,
            identity: split.identity,
            bytes: split.bytes,
        };
        Ok(match self.0.read(&split)? {
            Rows::FromHost(reader) => source_contract::Rows::FromHost(reader.0.0),
            Rows::FromPlugin(reader) => {
                let own = OwnReader { schema: encode_schema(&reader.schema())?, reader: RefCell::new(reader) };
                source_contract::Rows::FromPlugin(source_contract::Reader::new(own))
            }
        })
    }

    fn checkpoint(&self, request: source_contract::PlanRequest) -> Answer<Option<String>> {
        Ok(self.0.checkpoint(&plan_request(request)?)?.map(|state| state.to_string()))
    }
}

impl source_contract::GuestReader for OwnReader {
    fn schema(&self) -> Vec<u8> {
        self.schema.clone()
    }

    fn next(&self) -> Answer<Option<batches::Batch>> {
        let mut reader =
            self.reader.try_borrow_mut().map_err(|_| PluginError::internal("next was called inside next"))?;
        Ok(reader.next()?.map(|batch| {
            let backend::Batch(batch) = batch.0;
            batch
        }))
    }
}

fn plan_request(request: source_contract::PlanRequest) -> Result<PlanRequest> {
    let state = request.state.map(|state| parse_json("state", &state)).transpose()?;
    Ok(PlanRequest { dataset: request.dataset, window: request.window, state })
}

fn parse_json(what: &str, text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| PluginError::internal(format!("{what} is no JSON: {error}")))
}

/// A cleaner plugin.
pub struct CleanerComponent<C>(PhantomData<C>);

/// A bound cleaner.
pub struct Pass<C> {
    cleaner: C,
    reads: Vec<String>,
    writes: Vec<u8>,
}

impl<C: Cleaner> cleaner_contract::Guest for CleanerComponent<C> {
    type Pass = Pass<C>;

    fn spec() -> cleaner_contract::CleanerSpec {
        let spec = C::spec();
        cleaner_contract::CleanerSpec {
            name: spec.name.to_owned(),
            version: spec.version.to_owned(),
            description: spec.description.to_owned(),
            config_schema: C::Config::schema().to_json().to_string(),
        }
    }
}

impl<C: Cleaner> cleaner_contract::GuestPass for Pass<C> {
    fn bind(config: String, schema: Vec<u8>, window: Option<types::Window>) -> Answer<cleaner_contract::Pass> {
        let schema = lakehost_wire::decode_schema(&schema).map_err(PluginError::from)?;
        let cleaner = C::bind(config::parse(&config)?, &schema, window.as_ref())?;
        let writes: &Schema = &cleaner.writes();
        let pass = Self { reads: cleaner.reads(), writes: encode_schema(writes)?, cleaner };
        Ok(cleaner_contract::Pass::new(pass))
    }

    fn binding(&self) -> cleaner_contract::Binding {
        cleaner_contract::Binding {
            rules: self.cleaner.rules(),
            reads: self.reads.clone(),
            writes: self.writes.clone(),
        }
    }

    fn clean(&self, batch: &batches::Batch) -> Answer<cleaner_contract::Patch> {
        let Patch { keep, reasons, columns } = self.cleaner.clean(&read_columns(batch, &self.reads)?)?;
        let columns = columns.map(|columns| lakehost_wire::encode_batch(&columns)).transpose();
        Ok(cleaner_contract::Patch { keep, reasons, columns: columns.map_err(PluginError::from)? })
    }
}
