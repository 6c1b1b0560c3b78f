//! A cleaner component as the pipeline's [`Cleaner`]: bound once per load, cleaning in as many instances as there are threads.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::{FieldRef, Schema, SchemaRef};
use lakehost_pipeline::ports::{BoundCleaner, Cleaner, Patch, PluginId, Rule};
use lakehost_pipeline::{Fault, Window};
use lakehost_wire::{decode_hostile, decode_schema_hostile, encode_schema};
use wasmtime::component::{Resource, ResourceAny};

use crate::abi::since_v0_1::{self as abi, CleanerPlugin, cleaner};
use crate::error::{Error, Result, shown};
use crate::plugin::Plugin;
use crate::running::Running;
use crate::services::batches::HostBatch;

/// Rules of one cleaner.
const RULES_LIMIT: usize = 1_000;
/// Longest id of a rule.
const RULE_ID_BYTES: usize = 128;

/// Columns of this prefix are made by the host alone.
const RESERVED_PREFIX: &str = "_lakehost_";

/// A configured cleaner component.
pub struct WasmCleaner {
    plugin: Plugin,
    id: PluginId,
    config: String,
}

impl WasmCleaner {
    pub(crate) fn new(plugin: Plugin, config: String) -> Result<Self> {
        let id = plugin.about()?.id.clone();
        Ok(Self { plugin, id, config })
    }

    fn bound(&self, schema: &SchemaRef, window: Option<&Window>) -> Result<Bound> {
        let ipc = encode_schema(schema).map_err(|source| Error::Batch {
            plugin: self.id.to_string(),
            call: "bind",
            source,
        })?;
        let config = self.config.clone();
        let terms = Terms { config, schema: schema.clone(), ipc, window: window.map(abi::window) };
        let (pass, binding) = Pass::bind(&self.plugin, &terms)?;
        let most = self.plugin.threads();
        let pool = Pool { idle: vec![pass], live: 1, most };
        Ok(Bound { plugin: self.plugin.clone(), terms, binding, pool: Mutex::new(pool), freed: Condvar::new() })
    }
}

impl Cleaner for WasmCleaner {
    fn plugin(&self) -> &PluginId {
        &self.id
    }

    fn config(&self) -> &str {
        &self.config
    }

    fn bind(&self, schema: &SchemaRef, window: Option<&Window>) -> Result<Box<dyn BoundCleaner>, Fault> {
        match self.bound(schema, window) {
            Ok(bound) => Ok(Box::new(bound)),
            Err(error) => Err(Fault::from(error).with("plugin", &self.id)),
        }
    }
}

/// What every instance is bound with.
struct Terms {
    config: String,
    schema: SchemaRef,
    /// The schema as it crosses.
    ipc: Vec<u8>,
    window: Option<abi::types::Window>,
}

/// What a cleaner answered to that, checked. All instances answer the same.
#[derive(Debug, PartialEq)]
struct Binding {
    rules: Vec<Rule>,
    reads: Vec<String>,
    writes: SchemaRef,
}

/// One instance, bound.
struct Pass {
    running: Running<CleanerPlugin>,
    pass: ResourceAny,
}

impl Pass {
    fn bind(plugin: &Plugin, terms: &Terms) -> Result<(Self, Binding)> {
        let budgets = &plugin.around().budgets;
        let mut running = plugin.start_cleaner()?;
        let pass = running.ask("bind", budgets.cpu_short, |plugin, store| {
            let pass = plugin.lakehost_plugin_cleaner().pass();
            pass.call_bind(store, &terms.config, &terms.ipc, terms.window.as_ref())
        })?;
        let found = running.call("binding", budgets.cpu_short, |plugin, store| {
            plugin.lakehost_plugin_cleaner().pass().call_binding(store, pass)
        })?;
        let writes = decode_schema_hostile(found.writes, &budgets.batch).map_err(|source| Error::Batch {
            plugin: running.state().plugin.clone(),
            call: "binding",
            source,
        })?;
        let checked = checked_rules(found.rules)
            .and_then(|rules| check_columns(&found.reads, &writes, &terms.schema).map(|()| rules))
            .map_err(|detail| running.contract("binding", detail));
        Ok((Self { running, pass }, Binding { rules: checked?, reads: found.reads, writes }))
    }
}

fn checked_rules(rules: Vec<cleaner::Rule>) -> Result<Vec<Rule>, String> {
    if rules.len() > RULES_LIMIT {
        return Err(format!("{} rules, the limit is {RULES_LIMIT}", rules.len()));
    }
    let mut ids = std::collections::HashSet::new();
    for rule in &rules {
        let plain = |character: char| character.is_ascii_alphanumeric() || "_-.".contains(character);
        if rule.id.is_empty() || rule.id.len() > RULE_ID_BYTES || !rule.id.chars().all(plain) {
            return Err(format!(
                "the rule id `{}` is not made of letters, digits, `_`, `-` and `.`",
                shown(&rule.id, 80)
            ));
        }
        if !ids.insert(rule.id.as_str()) {
            return Err(format!("two rules have the id {}", rule.id));
        }
    }
    Ok(rules.into_iter().map(|rule| Rule { id: rule.id, description: shown(&rule.description, 300) }).collect())
}

/// What it reads is there, once, and what it writes is not the host's own.
fn check_columns(reads: &[String], writes: &Schema, schema: &Schema) -> Result<(), String> {
    let mut names = std::collections::HashSet::new();
    for name in reads {
        if !names.insert(name.as_str()) {
            return Err(format!("it reads column `{}` twice", shown(name, 80)));
        }
        if schema.index_of(name).is_err() {
            return Err(format!("it reads column `{}`, and there is none", shown(name, 80)));
        }
    }
    match writes.fields().iter().find(|field| field.name().starts_with(RESERVED_PREFIX)) {
        Some(field) => Err(format!("it writes column `{}`, which is the host's own", shown(field.name(), 80))),
        None => Ok(()),
    }
}

/// A cleaner bound to one load, with its instances.
struct Bound {
    plugin: Plugin,
    terms: Terms,
    binding: Binding,
    pool: Mutex<Pool>,
    freed: Condvar,
}

/// Instances that wait for work, and how many there are and may be.
struct Pool {
    idle: Vec<Pass>,
    live: usize,
    most: usize,
}

impl Bound {
    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An instance that nobody else uses: an idle one, a fresh one while there may be more, or the next that comes free. When memory
    /// does not hold another, those that are there do the work.
    fn acquire(&self) -> Result<Pass> {
        let mut pool = self.pool();
        loop {
            if let Some(pass) = pool.idle.pop() {
                return Ok(pass);
            }
            if pool.live >= pool.most {
                pool = self.freed.wait(pool).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            pool.live += 1;
            drop(pool);
            let fresh = self.fresh();
            pool = self.pool();
            match fresh {
                Ok(pass) => return Ok(pass),
                Err(error) => {
                    pool.live -= 1;
                    self.freed.notify_one();
                    if matches!(error, Error::Memory { .. }) && pool.live > 0 {
                        pool.most = pool.live;
                        continue;
                    }
                    return Err(error);
                }
            }
        }
    }

    fn fresh(&self) -> Result<Pass> {
        let (pass, binding) = Pass::bind(&self.plugin, &self.terms)?;
        if binding != self.binding {
            return Err(pass
                .running
                .contract("binding", "two instances answered differently to the same configuration and schema"));
        }
        Ok(pass)
    }

    fn release(&self, pass: Pass) {
        let mut pool = self.pool();
        if pass.running.is_spent() {
            pool.live -= 1;
        } else {
            pool.idle.push(pass);
        }
        drop(pool);
        self.freed.notify_one();
    }

    fn patch(&self, pass: &mut Pass, batch: &RecordBatch) -> Result<Patch> {
        let budgets = &self.plugin.around().budgets;
        let rows = batch.num_rows();
        let running = &mut pass.running;
        let held = running.state().table.push(HostBatch::of_host(batch.clone()));
        let held = held.map_err(|error| running.contract("clean", error.to_string()))?;
        let lent: Resource<HostBatch> = Resource::new_borrow(held.rep());
        let handle = pass.pass;
        let answer = running.ask("clean", budgets.cpu_batch, |plugin, store| {
            plugin.lakehost_plugin_cleaner().pass().call_clean(store, handle, lent)
        });
        if !running.is_spent() {
            running.state().table.delete(held).map_err(|error| running.contract("clean", error.to_string()))?;
        }
        let answer = answer?;
        let codes = codes(answer.keep.as_deref(), &answer.reasons, rows, self.binding.rules.len())
            .map_err(|detail| running.contract("clean", detail))?;
        let columns = match answer.columns {
            Some(bytes) => {
                let columns = decode_hostile(bytes, &budgets.batch, Some(&self.binding.writes))
                    .map_err(|source| Error::unsound(running.state().plugin.clone(), "clean", source))?;
                if columns.num_rows() != rows {
                    let detail = format!("columns of {} rows for a batch of {rows}", columns.num_rows());
                    return Err(running.contract("clean", detail));
                }
                columns.columns().to_vec()
            }
            None if self.binding.writes.fields().is_empty() => Vec::new(),
            None => return Err(running.contract("clean", "it declared columns that it writes, and answered none")),
        };
        Ok(Patch { codes, columns })
    }
}

impl BoundCleaner for Bound {
    fn rules(&self) -> &[Rule] {
        &self.binding.rules
    }

    fn reads(&self) -> &[String] {
        &self.binding.reads
    }

    fn writes(&self) -> &[FieldRef] {
        self.binding.writes.fields()
    }

    fn clean(&self, batch: &RecordBatch) -> Result<Patch, Fault> {
        let mut pass = self.acquire()?;
        let patch = self.patch(&mut pass, batch);
        self.release(pass);
        Ok(patch?)
    }
}

/// A code for each row: 0 = kept, else 1 + the rule. `None` when all are kept.
fn codes(keep: Option<&[u8]>, reasons: &[u16], rows: usize, rules: usize) -> Result<Option<Vec<u16>>, String> {
    let Some(keep) = keep else {
        return match reasons {
            [] => Ok(None),
            _ => Err(format!("{} reasons, and every row is kept", reasons.len())),
        };
    };
    if keep.len() != rows.div_ceil(8) {
        return Err(format!("a keep-mask of {} bytes, and {rows} rows take {}", keep.len(), rows.div_ceil(8)));
    }
    if let Some(unknown) = reasons.iter().find(|reason| usize::from(**reason) >= rules) {
        return Err(format!("reason {unknown}, and there are {rules} rules"));
    }
    let mut left = reasons.iter();
    let mut codes = vec![0; rows];
    for (byte, slots) in keep.iter().zip(codes.chunks_mut(8)) {
        if *byte == u8::MAX {
            continue;
        }
        for (bit, slot) in slots.iter_mut().enumerate() {
            if byte >> bit & 1 == 0 {
                let reason =
                    left.next().ok_or_else(|| format!("{} reasons, and more rows are dropped", reasons.len()))?;
                *slot = reason + 1;
            }
        }
    }
    match left.len() {
        0 => Ok((!reasons.is_empty()).then_some(codes)),
        extra => Err(format!("{} reasons, and {} rows are dropped", reasons.len(), reasons.len() - extra)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keep: Option<&[u8]>, reasons: &[u16], rows: usize, expected: &str) {
        let got = match codes(keep, reasons, rows, 3) {
            Ok(Some(codes)) => format!("{codes:?}"),
            Ok(None) => "all".to_owned(),
            Err(detail) => detail,
        };
        assert_eq!(got, expected, "{keep:?} {reasons:?} {rows}");
    }

    #[test]
    fn masks_and_reasons_fit_each_other() {
        check(None, &[], 5, "all");
        check(None, &[0], 5, "1 reasons, and every row is kept");
        check(Some(&[0xff]), &[], 5, "all");
        check(Some(&[0b0001_1111]), &[], 5, "all");
        check(Some(&[0b0001_0101]), &[2, 0], 5, "[0, 3, 0, 1, 0]");
        check(Some(&[0b0001_0101]), &[2], 5, "1 reasons, and more rows are dropped");
        check(Some(&[0b0001_0101]), &[2, 0, 1], 5, "3 reasons, and 2 rows are dropped");
        check(Some(&[0b0001_0101]), &[2, 3], 5, "reason 3, and there are 3 rules");
        check(Some(&[0xff, 0xff]), &[], 5, "a keep-mask of 2 bytes, and 5 rows take 1");
        check(Some(&[]), &[], 5, "a keep-mask of 0 bytes, and 5 rows take 1");
        check(Some(&[]), &[], 0, "all");
        check(Some(&[0xff, 0]), &[1], 9, "[0, 0, 0, 0, 0, 0, 0, 0, 2]");
        check(Some(&[0]), &[u16::MAX], 1, "reason 65535, and there are 3 rules");
    }

    #[test]
    fn rules_have_plain_and_distinct_ids() {
        let rule = |id: &str| cleaner::Rule { id: id.to_owned(), description: "text\u{1b}[0m".to_owned() };
        let rules = checked_rules(vec![rule("a_b"), rule("c-d.1")]).unwrap();
        assert!(!rules[0].description.contains('\u{1b}'));
        for id in ["", "a b", "a\n", "cast:x", &"x".repeat(200)] {
            assert!(checked_rules(vec![rule(id)]).is_err(), "{id:?}");
        }
        assert_eq!(checked_rules(vec![rule("a"), rule("a")]).unwrap_err(), "two rules have the id a");
        assert!(checked_rules((0..2000).map(|n| rule(&n.to_string())).collect()).is_err());
    }

    #[test]
    fn a_binding_names_columns_that_are_there() {
        use arrow_schema::{DataType, Field};
        let schema = |names: &[&str]| {
            Schema::new(names.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect::<Vec<_>>())
        };
        let check = |reads: &[&str], writes: &[&str]| {
            let reads: Vec<String> = reads.iter().map(|name| (*name).to_owned()).collect();
            check_columns(&reads, &schema(writes), &schema(&["a", "b"]))
        };
        assert_eq!(check(&["b", "a"], &["a", "c"]), Ok(()));
        assert_eq!(check(&["a", "a"], &[]).unwrap_err(), "it reads column `a` twice");
        assert_eq!(check(&["c"], &[]).unwrap_err(), "it reads column `c`, and there is none");
        let reserved = check(&[], &["_lakehost_window"]).unwrap_err();
        assert_eq!(reserved, "it writes column `_lakehost_window`, which is the host's own");
    }
}
