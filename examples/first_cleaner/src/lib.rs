//! A first cleaner: rejects trips that cost less than a configured amount, and adds the tip in percent of the fare.

use std::sync::Arc;

use lakehost_sdk::arrow_array::{Float64Array, RecordBatch};
use lakehost_sdk::arrow_schema::{DataType, Field, Schema, SchemaRef};
use lakehost_sdk::config::{Config, ConfigSchema, Key};
use lakehost_sdk::{Cleaner, CleanerSpec, Patch, Result, Rule, Verdicts, Window, column, require_column};

/// What a pipeline may configure.
#[derive(serde::Deserialize)]
pub struct FirstConfig {
    least_fare_dollars: f64,
}

impl Config for FirstConfig {
    fn schema() -> ConfigSchema {
        ConfigSchema::new()
            .key(Key::number("least_fare_dollars").default(0.0).about("trips below this fare are rejected"))
    }
}

/// The cleaner, bound to one schema.
pub struct FirstCleaner {
    config: FirstConfig,
}

impl Cleaner for FirstCleaner {
    type Config = FirstConfig;

    fn spec() -> CleanerSpec {
        CleanerSpec {
            name: "first_cleaner",
            version: env!("CARGO_PKG_VERSION"),
            description: "rejects refunds, adds tip_percent",
        }
    }

    fn bind(config: FirstConfig, schema: &Schema, _window: Option<&Window>) -> Result<Self> {
        require_column(schema, "fare_amount", &DataType::Float64)?;
        require_column(schema, "tip_amount", &DataType::Float64)?;
        Ok(Self { config })
    }

    fn rules(&self) -> Vec<Rule> {
        vec![Rule::new("fare_too_low", format!("fare_amount is below {} dollars", self.config.least_fare_dollars))]
    }

    fn reads(&self) -> Vec<String> {
        vec!["fare_amount".into(), "tip_amount".into()]
    }

    fn writes(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("tip_percent", DataType::Float64, true)]))
    }

    fn clean(&self, batch: &RecordBatch) -> Result<Patch> {
        let fares: &Float64Array = column(batch, "fare_amount")?;
        let tips: &Float64Array = column(batch, "tip_amount")?;
        let least = self.config.least_fare_dollars;

        let mut verdicts = Verdicts::of_rows(batch.num_rows());
        verdicts.reject(0, fares, |fare| fare < least)?;

        let percent = |(fare, tip): (Option<f64>, Option<f64>)| Some(100.0 * tip? / fare.filter(|fare| *fare > 0.0)?);
        let tip_percent: Float64Array = fares.iter().zip(tips).map(percent).collect();
        let columns = RecordBatch::try_new(self.writes(), vec![Arc::new(tip_percent)])?;
        Ok(verdicts.into_patch().with_columns(columns))
    }
}

lakehost_sdk::export_cleaner!(FirstCleaner);

#[cfg(test)]
mod tests {
    use lakehost_sdk::arrow_array::ArrayRef;
    use lakehost_sdk::testing::clean;

    use super::*;

    #[test]
    fn rejects_refunds_and_adds_the_tip_in_percent() {
        let fares: ArrayRef = Arc::new(Float64Array::from(vec![Some(20.0), Some(-20.0), Some(0.0), None]));
        let tips: ArrayRef = Arc::new(Float64Array::from(vec![5.0, 0.0, 1.0, 1.0]));
        let trips = RecordBatch::try_from_iter([("fare_amount", fares), ("tip_amount", tips)]).unwrap();

        let cleaned = clean::<FirstCleaner>("{}", &trips, None).unwrap();

        assert_eq!(cleaned.rejected, [(1, "fare_too_low".to_string())]);
        let percent: &Float64Array = column(&cleaned.kept, "tip_percent").unwrap();
        assert_eq!(percent.iter().collect::<Vec<_>>(), [Some(25.0), None, None]);
    }

    #[test]
    fn the_least_fare_can_be_configured() {
        let fares: ArrayRef = Arc::new(Float64Array::from(vec![2.0, 3.0]));
        let trips = RecordBatch::try_from_iter([("fare_amount", fares.clone()), ("tip_amount", fares)]).unwrap();
        let cleaned = clean::<FirstCleaner>(r#"{"least_fare_dollars": 2.5}"#, &trips, None).unwrap();
        assert_eq!(cleaned.kept.num_rows(), 1);
    }
}
