//! A catalog of Trino for the branch that a run is on: made for its models, and dropped in the end.
//!
//! Trino shows the text of a statement to whoever may see its queries, and so the keys that stand in it. So keys go there only when the profile says
//! so; `${ENV:NAME}` is looked up by Trino itself, in its own environment, and stays as it is written.

use std::collections::BTreeMap;

use lakehost_models::trino::{Statement, literal, quoted};
use lakehost_pipeline::{Fault, Secret};

use crate::config::resolve::Where;
use crate::error::Error;
use crate::screen;
use crate::trino::Connection;

/// A catalog as long as this lives.
pub struct BranchCatalog {
    place: Where,
    name: String,
}

impl BranchCatalog {
    /// Makes the catalog for the branch that a place is on.
    pub fn make(place: &Where, run_id: &str) -> Result<Self, Fault> {
        let properties = properties(place)?;
        let made = Self { place: place.clone(), name: name(run_id) };
        let with: Vec<String> =
            properties.iter().map(|(name, value)| format!("{} = {}", quoted(name), literal(value.expose()))).collect();
        let sql = format!("CREATE CATALOG {} USING iceberg WITH ({})", quoted(&made.name), with.join(", "));
        match Connection::open(place)?.write(&Statement::new(&sql)) {
            Ok(_) => Ok(made),
            Err(fault) => {
                let cause = fault.cause().unwrap_or_default();
                let cause = properties
                    .values()
                    .filter(|value| is_long(value))
                    .fold(cause, |cause, value| cause.replace(value.expose(), "***"));
                Err(Fault::new(Error::BranchCatalog { message: fault.to_string(), cause, code: fault.code() }))
            }
        }
    }

    /// The place with this catalog as Trino's name of it.
    pub fn place(&self) -> Where {
        let mut place = self.place.clone();
        if let Some(trino) = &mut place.trino {
            trino.catalog.clone_from(&self.name);
        }
        place
    }
}

impl Drop for BranchCatalog {
    fn drop(&mut self) {
        drop_catalog(&self.place, &self.name);
    }
}

/// Whether the profile says all that a catalog needs: better before a run than after its load.
pub fn check(place: &Where) -> Result<(), Fault> {
    properties(place).map(|_| ())
}

/// Drops the catalog that a run left in Trino whose process died; there need not be one.
pub fn sweep(place: &Where, run_id: &str) {
    if place.trino.is_some() {
        drop_catalog(place, &name(run_id));
    }
}

/// Also after Ctrl-C, so the connection is one that nothing stops.
fn drop_catalog(place: &Where, name: &str) {
    let dropped = Connection::unstoppable(place)
        .and_then(|trino| trino.write(&Statement::new(&format!("DROP CATALOG IF EXISTS {}", quoted(name)))));
    if let Err(error) = dropped {
        let cause = error.cause().map(|cause| format!(": {cause}")).unwrap_or_default();
        screen::say(&format!("catalog {name} stays in Trino, `DROP CATALOG {name}` removes it: {error}{cause}\n"));
    }
}

fn name(run_id: &str) -> String {
    format!("lakehost_{}", run_id.replace('-', "_"))
}

/// Short values, such as `true`, are in many sentences.
fn is_long(value: &Secret) -> bool {
    value.expose().len() >= 6
}

/// What the catalog is made with: what the profile says of catalog and bucket, and what it says of Trino's catalog in particular.
fn properties(place: &Where) -> Result<BTreeMap<String, Secret>, Fault> {
    let own = place.branch_catalog()?;
    let mut found: BTreeMap<String, Secret> = BTreeMap::new();
    let mut set = |name: &str, value: String| {
        found.insert(name.to_owned(), Secret::new(value));
    };
    let wanting = |what: &str, properties: &str| {
        let profile = &place.profile;
        Fault::new(Error::Profile {
            profile: profile.clone(),
            message: format!(
                "models on a branch need a catalog of Trino's with {what}, which are not sent unasked: Trino shows its statements"
            ),
            hint: Some(format!(
                "add [profile.{profile}.trino.branch_catalog] with {properties}: \"${{ENV:NAME}}\" is looked up in Trino's own environment, \
                 {{ env = \"NAME\" }} or {{ file = \"PATH\" }} here"
            )),
        })
    };
    if let Some(catalog) = &place.catalog {
        let keys = &catalog.keys;
        set("iceberg.catalog.type", "rest".to_owned());
        set("iceberg.rest-catalog.uri", catalog.uri.clone());
        let branch = keys.branch.as_deref().unwrap_or_default();
        let warehouse = keys.warehouse.as_ref();
        let escaped =
            |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20");
        let prefix = [Some(escaped(branch)), warehouse.map(|warehouse| escaped(warehouse))];
        set("iceberg.rest-catalog.prefix", prefix.into_iter().flatten().collect::<Vec<_>>().join("%7C"));
        if let Some(warehouse) = warehouse {
            set("iceberg.rest-catalog.warehouse", warehouse.clone());
        }
        let lets_in = keys.token.is_some() || keys.client_secret.is_some();
        if lets_in && !own.contains_key("iceberg.rest-catalog.security") {
            let properties = "\"iceberg.rest-catalog.security\" = \"OAUTH2\" and \"iceberg.rest-catalog.oauth2.token\" or \"….credential\"";
            return Err(wanting("the credentials of Nessie", properties));
        }
    }
    if place.is_remote() {
        let s3 = &place.s3;
        set("fs.native-s3.enabled", "true".to_owned());
        s3.endpoint.iter().for_each(|endpoint| set("s3.endpoint", endpoint.clone()));
        set("s3.region", s3.region.clone().unwrap_or_else(|| "us-east-1".to_owned()));
        set("s3.path-style-access", s3.path_style.unwrap_or(s3.endpoint.is_some()).to_string());
        let told = ["s3.aws-access-key", "s3.iam-role", "s3.use-web-identity-token-credentials-provider"];
        if s3.access_key_id.is_some() && !told.iter().any(|name| own.contains_key(*name)) {
            return Err(wanting("the keys of the bucket", "\"s3.aws-access-key\" and \"s3.aws-secret-key\""));
        }
    }
    found.extend(own);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Place;
    use crate::config::file::{self, Loaded};
    use crate::config::resolve::place_in;

    fn of(more: &str) -> Result<BTreeMap<String, String>, Fault> {
        let text = format!(
            "[profile.a]\nwarehouse = \"s3://lake/nessie\"\n\
             [profile.a.catalog]\nuri = \"http://n:19120/iceberg\"\nwarehouse = \"w h\"\n\
             [profile.a.s3]\nendpoint = \"http://127.0.0.1:9000\"\naccess_key_id = \"id\"\nsecret_access_key = {{ env = \"PATH\" }}\n\
             [profile.a.trino]\nuri = \"http://t:8080\"\ncatalog = \"nessie\"\n{more}"
        );
        let loaded = Loaded { file: file::parse(&text, "lakehost.toml").unwrap(), path: None };
        let asked = Place { profile: Some("a".to_owned()), ..Place::default() };
        let place = place_in(&asked, None, &loaded).unwrap().on_branch("r-1", "lakehost/r-1");
        let found = properties(&place)?;
        Ok(found.into_iter().map(|(name, value)| (name, value.expose().to_owned())).collect())
    }

    #[test]
    fn a_catalog_is_that_of_the_profile_on_the_branch() {
        let keys = "[profile.a.trino.branch_catalog]\n\"s3.aws-access-key\" = \"${ENV:ID}\"\n\"s3.aws-secret-key\" = \"${ENV:KEY}\"\n\
                    \"s3.region\" = \"eu-west-1\"\n";
        let found = of(keys).unwrap();
        for (name, value) in [
            ("iceberg.rest-catalog.uri", "http://n:19120/iceberg"),
            ("iceberg.rest-catalog.prefix", "lakehost%2Fr-1%7Cw%20h"),
            ("s3.endpoint", "http://127.0.0.1:9000"),
            ("s3.path-style-access", "true"),
            ("s3.region", "eu-west-1"),
            ("s3.aws-secret-key", "${ENV:KEY}"),
        ] {
            assert_eq!(found.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert_eq!(name("0190-a-b"), "lakehost_0190_a_b");
    }

    #[test]
    fn keys_are_not_sent_unasked() {
        let refused = of("").unwrap_err();
        assert!(refused.to_string().contains("the keys of the bucket"), "{refused}");
        assert!(refused.hint().unwrap().contains("[profile.a.trino.branch_catalog]"));
    }
}
