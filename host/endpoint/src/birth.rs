//! A table before it is in the catalog: from a request to make one, or from the changes that a staged one is committed with.

use std::collections::{BTreeMap, HashMap};

use iceberg::TableUpdate;
use iceberg::spec::{FormatVersion, Schema, SortOrder, UnboundPartitionSpec};
use lakehost_lake::{Base, Creation, TableChange};
use lakehost_pipeline::ports::TableName;
use serde::Deserialize;
use uuid::Uuid;

use crate::commit::unfit;
use crate::refusal::{Answer, Refusal};
use crate::warehouse::Warehouse;

/// The property by which a client asks for a format.
const FORMAT: &str = "format-version";

/// A request to make a table.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CreateTable {
    pub name: String,
    location: Option<String>,
    schema: Schema,
    partition_spec: Option<UnboundPartitionSpec>,
    write_order: Option<SortOrder>,
    #[serde(default)]
    pub stage_create: bool,
    #[serde(default)]
    properties: BTreeMap<String, Option<String>>,
}

impl CreateTable {
    /// The table that is asked for, placed.
    pub async fn creation(self, warehouse: &Warehouse, table: &TableName) -> Answer<Creation> {
        let mut properties: HashMap<String, String> =
            self.properties.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let format = properties.remove(FORMAT).map(|text| format(&text)).transpose()?;
        let mut creation = Creation {
            uuid: Uuid::new_v4(),
            location: String::new(),
            schema: self.schema,
            spec: self.partition_spec.unwrap_or_else(|| UnboundPartitionSpec::builder().build()),
            order: self.write_order.unwrap_or_else(SortOrder::unsorted_order),
            format: format.unwrap_or(FormatVersion::V2),
            properties,
        };
        match self.location {
            Some(location) => creation.location = checked(warehouse, location).await?,
            None => {
                creation.location = warehouse.place(table).await?;
                if let Some(placed) = warehouse.catalog.place(table, &creation).await? {
                    (creation.location, creation.uuid) = (placed.location, placed.uuid);
                }
            }
        }
        Ok(creation)
    }
}

fn format(text: &str) -> Answer<FormatVersion> {
    match text {
        "1" => Ok(FormatVersion::V1),
        "2" => Ok(FormatVersion::V2),
        "3" => Ok(FormatVersion::V3),
        _ => Err(Refusal::bad_request(format!("`{}` is no format of Iceberg: 1, 2 or 3", text.escape_debug()))),
    }
}

/// A client's own place for a table, when it is one.
pub async fn checked(warehouse: &Warehouse, location: String) -> Answer<String> {
    if warehouse.lake.is_free(&location).await? {
        return Ok(location.trim_end_matches('/').to_owned());
    }
    let (location, root) = (location.escape_debug(), warehouse.lake.root());
    Err(Refusal::bad_request(format!(
        "a table cannot lie at `{location}`: it lies two folders deep under {root}, and not where another one does"
    )))
}

/// The table that a first commit makes. What stands in `updates` is applied to it afterwards, so only what it cannot be without is taken here.
pub async fn committed(warehouse: &Warehouse, table: &TableName, updates: &[TableUpdate]) -> Answer<Creation> {
    let (mut schema, mut spec, mut order, mut location, mut uuid, mut format) = (None, None, None, None, None, None);
    for update in updates {
        match update {
            TableUpdate::AddSchema { schema: found } => schema = schema.or(Some(found)),
            TableUpdate::AddSpec { spec: found } => spec = spec.or(Some(found)),
            TableUpdate::AddSortOrder { sort_order } => order = order.or(Some(sort_order)),
            TableUpdate::SetLocation { location: found } => location = Some(found),
            TableUpdate::AssignUuid { uuid: found } => uuid = Some(*found),
            TableUpdate::UpgradeFormatVersion { format_version } => format = Some(*format_version),
            _ => {}
        }
    }
    let Some(schema) = schema else {
        return Err(Refusal::bad_request(format!(
            "table {table} is to be made without a schema: add-schema is missing"
        )));
    };
    let creation = Creation {
        uuid: uuid.unwrap_or_else(Uuid::new_v4),
        location: match location {
            Some(location) => checked(warehouse, location.clone()).await?,
            None => warehouse.place(table).await?,
        },
        schema: schema.clone(),
        spec: spec.cloned().unwrap_or_else(|| UnboundPartitionSpec::builder().build()),
        order: order.cloned().unwrap_or_else(SortOrder::unsorted_order),
        format: format.unwrap_or(FormatVersion::V2),
        properties: HashMap::new(),
    };
    // Files may have been written under the ids that the client has.
    let made = change(table, creation.clone())?;
    if made.metadata.current_schema().as_struct() != schema.as_struct() {
        return Err(Refusal::bad_request(format!(
            "the columns of table {table} do not have the field ids that a new table gets: make it with stage-create first"
        )));
    }
    Ok(creation)
}

/// The change that makes a table as it is.
pub fn change(table: &TableName, creation: Creation) -> Answer<TableChange> {
    let base = Base::New(Box::new(creation));
    let requirements = vec![iceberg::TableRequirement::NotExist];
    TableChange::build(table, base, requirements, Uuid::new_v4(), Ok).map_err(unfit)
}
