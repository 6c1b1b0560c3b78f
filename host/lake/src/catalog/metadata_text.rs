//! Metadata files as text, so that a commit to a table with a thousand snapshots need not write a thousand snapshots anew.
//!
//! A commit that adds one snapshot changes a handful of members of the file. Those are written from the new metadata, the new snapshot is put
//! behind the old ones, and everything else is carried over byte by byte. Any other change takes the Iceberg library's own serialiser.

use std::collections::HashSet;
use std::ops::Range;

use iceberg::spec::{FormatVersion, MAIN_BRANCH, Snapshot, TableMetadata};
use serde::Serialize;
use serde_json::json;

/// The text of a metadata file and where the members of its object are.
#[derive(Debug)]
pub struct MetadataText {
    bytes: Vec<u8>,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: String,
    value: Range<usize>,
}

impl MetadataText {
    /// `None` for text that is not one JSON object with plain, unique names: such a file is still fine, it is only not built upon.
    pub fn parse(bytes: Vec<u8>) -> Option<Self> {
        let members = Scanner { bytes: &bytes, at: 0 }.object()?;
        let names: HashSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
        if names.len() != members.len() {
            return None;
        }
        Some(Self { bytes, members })
    }

    /// The whole text.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn get(&self, name: &str) -> Option<&[u8]> {
        let member = self.members.iter().find(|member| member.name == name)?;
        self.bytes.get(member.value.clone())
    }

    /// The text of `new`, which `old`, the metadata of this text, became by one more snapshot on `main`. `None`: something else changed too.
    pub fn with_snapshot(&self, old: &TableMetadata, new: &TableMetadata) -> Option<Self> {
        let added = added_snapshot(old, new)?;
        let mut changed: Vec<(&str, Value<'_>)> = vec![
            ("last-sequence-number", Value::of(&new.last_sequence_number())?),
            ("last-updated-ms", Value::of(&new.last_updated_ms())?),
            ("current-snapshot-id", Value::of(&new.current_snapshot_id()?)?),
            ("snapshots", self.longer("snapshots", old.snapshots().len(), &snapshot_json(added))?),
            ("refs", self.refs(added)?),
            ("snapshot-log", self.log(old, new)?),
            ("metadata-log", Value::of(&new.metadata_log())?),
            ("properties", Value::of(new.properties())?),
        ];
        let mut writer = Writer::with_capacity(self.bytes.len() + (8 << 10));
        for member in &self.members {
            let value = match changed.iter().position(|(name, _)| *name == member.name) {
                Some(position) => changed.swap_remove(position).1,
                None => Value { kept: self.bytes.get(member.value.clone())?, added: Vec::new() },
            };
            writer.member(&member.name, &value);
        }
        // Members that the old file did not have.
        for (name, value) in changed {
            writer.member(name, &value);
        }
        Some(writer.finish())
    }

    /// The old array, of `length` elements, with one more.
    fn longer(&self, name: &str, length: usize, element: &impl Serialize) -> Option<Value<'_>> {
        let element = text(element)?;
        let Some(array) = self.get(name) else {
            return (length == 0).then(|| Value { kept: b"", added: [b"[", element.as_slice(), b"]"].concat() });
        };
        let kept = array.strip_suffix(b"]")?.trim_ascii_end();
        let separator: &[u8] = if kept.ends_with(b"[") { b"" } else { b"," };
        Some(Value { kept, added: [separator, &element, b"]"].concat() })
    }

    /// Which snapshot was `main` when: one line more, unless lines went as well.
    fn log(&self, old: &TableMetadata, new: &TableMetadata) -> Option<Value<'_>> {
        match new.history().split_last() {
            Some((added, before)) if before == old.history() => self.longer("snapshot-log", before.len(), added),
            _ => Value::of(&new.history()),
        }
    }

    /// Branches and tags with `main` moved; its retention stays.
    fn refs(&self, added: &Snapshot) -> Option<Value<'_>> {
        let mut refs: serde_json::Value = match self.get("refs") {
            Some(refs) => serde_json::from_slice(refs).ok()?,
            None => json!({}),
        };
        let refs_object = refs.as_object_mut()?;
        let main = refs_object.entry(MAIN_BRANCH).or_insert_with(|| json!({ "type": "branch" }));
        main.as_object_mut()?.insert("snapshot-id".to_owned(), json!(added.snapshot_id()));
        Value::of(&refs)
    }
}

/// The text of a member's value: some of the old text, and what is new behind it.
struct Value<'a> {
    kept: &'a [u8],
    added: Vec<u8>,
}

impl Value<'_> {
    fn of(value: &(impl Serialize + ?Sized)) -> Option<Self> {
        Some(Self { kept: b"", added: text(value)? })
    }
}

/// The one snapshot that `new` has more, when nothing changed but what comes with it.
fn added_snapshot<'a>(old: &TableMetadata, new: &'a TableMetadata) -> Option<&'a Snapshot> {
    let added = new.current_snapshot()?;
    let same = old.format_version() == FormatVersion::V2
        && new.format_version() == FormatVersion::V2
        && old.uuid() == new.uuid()
        && old.location() == new.location()
        && old.last_column_id() == new.last_column_id()
        && old.last_partition_id() == new.last_partition_id()
        && old.current_schema_id() == new.current_schema_id()
        && old.schemas_iter().len() == new.schemas_iter().len()
        && old.default_partition_spec_id() == new.default_partition_spec_id()
        && old.partition_specs_iter().len() == new.partition_specs_iter().len()
        && old.default_sort_order_id() == new.default_sort_order_id()
        && old.sort_orders_iter().len() == new.sort_orders_iter().len()
        && old.statistics_iter().len() == new.statistics_iter().len()
        && old.partition_statistics_iter().len() == new.partition_statistics_iter().len()
        && old.encryption_keys_iter().len() == new.encryption_keys_iter().len();
    let one_more = old.snapshot_by_id(added.snapshot_id()).is_none()
        && new.snapshots().len() == old.snapshots().len() + 1
        && old.snapshots().all(|snapshot| new.snapshot_by_id(snapshot.snapshot_id()).is_some());
    (same && one_more && added.encryption_key_id().is_none()).then_some(added)
}

/// A snapshot of a v2 table, as the table specification has it.
fn snapshot_json(snapshot: &Snapshot) -> serde_json::Value {
    let mut value = json!({
        "snapshot-id": snapshot.snapshot_id(),
        "sequence-number": snapshot.sequence_number(),
        "timestamp-ms": snapshot.timestamp_ms(),
        "manifest-list": snapshot.manifest_list(),
        "summary": snapshot.summary(),
    });
    if let Some(object) = value.as_object_mut() {
        if let Some(parent) = snapshot.parent_snapshot_id() {
            object.insert("parent-snapshot-id".to_owned(), json!(parent));
        }
        if let Some(schema) = snapshot.schema_id() {
            object.insert("schema-id".to_owned(), json!(schema));
        }
    }
    value
}

fn text(value: &(impl Serialize + ?Sized)) -> Option<Vec<u8>> {
    serde_json::to_vec(value).ok()
}

/// Puts members one behind the other.
struct Writer {
    bytes: Vec<u8>,
    members: Vec<Member>,
}

impl Writer {
    fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity), members: Vec::new() }
    }

    /// Names are plain: they come from the scanner or from here.
    fn member(&mut self, name: &str, value: &Value<'_>) {
        self.bytes.push(if self.members.is_empty() { b'{' } else { b',' });
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b"\":");
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value.kept);
        self.bytes.extend_from_slice(&value.added);
        self.members.push(Member { name: name.to_owned(), value: start..self.bytes.len() });
    }

    fn finish(mut self) -> MetadataText {
        self.bytes.push(b'}');
        MetadataText { bytes: self.bytes, members: self.members }
    }
}

/// Finds where the members of the outermost object begin and end. The text has been parsed by others, so this only keeps count.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        self.space();
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    fn object(mut self) -> Option<Vec<Member>> {
        self.take(b'{')?;
        let mut members = Vec::new();
        loop {
            self.space();
            let name = self.string()?;
            let name = std::str::from_utf8(self.bytes.get(name)?).ok().filter(|name| !name.contains('\\'))?.to_owned();
            self.take(b':')?;
            self.space();
            let value = self.value()?;
            members.push(Member { name, value });
            self.space();
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    self.space();
                    return (self.at == self.bytes.len()).then_some(members);
                }
                _ => return None,
            }
        }
    }

    /// The inside of the string that starts here.
    fn string(&mut self) -> Option<Range<usize>> {
        if self.peek()? != b'"' {
            return None;
        }
        let start = self.at + 1;
        let mut at = start;
        loop {
            at += self.bytes.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            if *self.bytes.get(at)? == b'"' {
                self.at = at + 1;
                return Some(start..at);
            }
            at += 2;
        }
    }

    fn value(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                _ => self.at += 1,
            }
            if depth == 0 && matches!(self.peek()?, b',' | b'}' | b' ' | b'\n' | b'\r' | b'\t') {
                return Some(start..self.at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_whatever_is_in_them() {
        let text = r#" { "a" : 1, "b":"x\"},{\\", "c": {"d": [1, {"e": "]"}], "f": null} ,"g":[] , "h": -1.5e3 } "#;
        let parsed = MetadataText::parse(text.into()).unwrap();
        let found: Vec<(&str, &str)> = parsed
            .members
            .iter()
            .map(|member| (member.name.as_str(), std::str::from_utf8(&parsed.bytes[member.value.clone()]).unwrap()))
            .collect();
        assert_eq!(
            found,
            [
                ("a", "1"),
                ("b", r#""x\"},{\\""#),
                ("c", r#"{"d": [1, {"e": "]"}], "f": null}"#),
                ("g", "[]"),
                ("h", "-1.5e3"),
            ]
        );
        for text in
            ["", "{", "[]", "{}x", r#"{"a":1"#, r#"{"a":1,"a":2}"#, r#"{"\u0061":1}"#, r#"{"a":1}}"#, r#"{"a":"x}"#]
        {
            assert!(MetadataText::parse(text.into()).is_none(), "{text}");
        }
    }
}
