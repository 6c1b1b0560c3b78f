//! Source files as they came: `<warehouse>/raw_data/<table>/<window>/<file name>`, each with its sha256 beside it, as `sha256sum -c` reads it.
//!
//! Outside every table's folder, so that no upkeep of a table touches them, and neither does dropping it. The sha256 is written last: a file
//! without one is what an interrupted run left. A file of the same name with other bytes is kept beside the first, named by its sha256.

use std::io;

use lakehost_columnar::ByteSource;
use lakehost_pipeline::ports::{SourceObject, TableName};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::store::Store;

/// The folder of all of them in a warehouse.
const FOLDER: &str = "raw_data";
/// What the file of the hash is named by.
const HASH_SUFFIX: &str = ".sha256";
/// So much is in memory at a time.
const BLOCK_BYTES: usize = 8 << 20;
/// Longest name that is taken over.
const NAME_BYTES: usize = 180;
/// So many characters of the hash tell files of one name apart.
const HASH_CHARACTERS: usize = 16;
/// Whoever stores the same file at the same time is looked at so often.
const TRIES: u32 = 3;

/// Where the source files of a window go.
pub fn folder(root: &str, table: &TableName, window: Option<&str>) -> String {
    format!("{root}/{FOLDER}/{table}/{}", window.unwrap_or("all"))
}

/// Stores a file unless it is there, and answers where. What is answered was read back and has the hash of `object`.
///
/// # Errors
/// `LH0501`, `LH0503` and `LH1001` of the store, and `LH0501` when the bytes that come or that are read back are others than those that were loaded.
pub fn keep(store: &dyn Store, folder: &str, object: &SourceObject, bytes: &dyn ByteSource) -> Result<String> {
    let name = file_name(&object.url);
    let short = object.sha256.get(..HASH_CHARACTERS).unwrap_or(&object.sha256);
    let candidates = [format!("{folder}/{name}"), format!("{folder}/{short}-{name}")];
    let mut tries = 0;
    loop {
        tries += 1;
        match try_keep(store, &candidates, object, bytes) {
            Err(Error::Store { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists && tries < TRIES => {}
            ended => {
                let location = ended?;
                store.settle(folder).map_err(Error::store("sync", folder))?;
                return Ok(location);
            }
        }
    }
}

fn try_keep(
    store: &dyn Store,
    candidates: &[String; 2],
    object: &SourceObject,
    bytes: &dyn ByteSource,
) -> Result<String> {
    let [plain, named] = candidates;
    for location in candidates {
        match found(store, location, object)? {
            Found::Same => return Ok(location.clone()),
            Found::Unsealed => {}
            // Its name says what it should be: somebody began and did not end.
            Found::Other if location == named => {
                store.delete(location).map_err(Error::store("delete", location))?;
                write(store, location, object, bytes)?;
            }
            Found::Other => continue,
            Found::Nothing => write(store, location, object, bytes)?,
        }
        seal(store, location, object)?;
        return Ok(location.clone());
    }
    Err(Error::Internal(format!("neither {plain} nor {named} takes a file")))
}

/// What is at a place already.
enum Found {
    Nothing,
    /// The file, with its hash.
    Same,
    /// The file; only its hash is missing.
    Unsealed,
    Other,
}

fn found(store: &dyn Store, location: &str, object: &SourceObject) -> Result<Found> {
    let Some(length) = store.size(location).map_err(Error::store("look at", location))? else {
        return Ok(Found::Nothing);
    };
    let hash_location = format!("{location}{HASH_SUFFIX}");
    if store.size(&hash_location).map_err(Error::store("look at", &hash_location))?.is_some() {
        let text = store.get(&hash_location).map_err(Error::store("read", &hash_location))?;
        let sealed = text.get(..object.sha256.len()) == Some(object.sha256.as_bytes());
        return Ok(if sealed && length == object.length { Found::Same } else { Found::Other });
    }
    let same = length == object.length && stored_hash(store, location, length)? == object.sha256;
    Ok(if same { Found::Unsealed } else { Found::Other })
}

/// Writes the file and reads it back.
fn write(store: &dyn Store, location: &str, object: &SourceObject, bytes: &dyn ByteSource) -> Result<()> {
    let write = Error::store("keep a source file at", location);
    let copied = (|| {
        let mut sink = store.create(location)?;
        let hash = blocks(bytes.len(), |offset, len| {
            let block = bytes.read_at(offset, len)?;
            sink.write_all(&block)?;
            Ok(block)
        })?;
        if hash != object.sha256 {
            return Err(io::Error::other(format!("its sha256 is {hash}, and {} was loaded", object.sha256)));
        }
        sink.finish()
    })();
    copied.map_err(write)?;
    let stored = stored_hash(store, location, object.length)?;
    if stored != object.sha256 {
        let source =
            io::Error::other(format!("what is read back has the sha256 {stored}, and {} was written", object.sha256));
        return Err(Error::Store { action: "keep a source file at", location: location.to_owned(), source });
    }
    Ok(())
}

fn seal(store: &dyn Store, location: &str, object: &SourceObject) -> Result<()> {
    let name = location.rsplit('/').next().unwrap_or(location);
    let hash_location = format!("{location}{HASH_SUFFIX}");
    let text = format!("{}  {name}\n", object.sha256);
    store.put(&hash_location, text.as_bytes()).map_err(Error::store("write", &hash_location))
}

fn stored_hash(store: &dyn Store, location: &str, length: u64) -> Result<String> {
    let hash = blocks(length, |offset, len| store.read_range(location, offset..offset + len as u64));
    hash.map_err(Error::store("read back", location))
}

/// The sha256 of what comes block by block.
fn blocks(length: u64, mut next: impl FnMut(u64, usize) -> io::Result<bytes::Bytes>) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut offset = 0;
    while offset < length {
        let len = usize::try_from(length - offset).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
        let block = next(offset, len)?;
        hash.update(&block);
        offset += len as u64;
    }
    Ok(hex::encode(hash.finalize()))
}

/// The last part of a URL as a name that every store takes and that leads nowhere else.
fn file_name(url: &str) -> String {
    let last = url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-=+".contains(c) { c } else { '_' };
    let mut name: String = last.chars().map(plain).collect();
    // All are ASCII now. The end says what a file is, so the beginning gives way.
    if name.len() > NAME_BYTES {
        name = name.split_off(name.len() - NAME_BYTES);
    }
    if let Some(bare) = name.strip_suffix(HASH_SUFFIX) {
        name = format!("{bare}_sha256");
    }
    match name.trim_start_matches('.') {
        "" => "file".to_owned(),
        bare => bare.to_owned(),
    }
}

#[cfg(test)]
#[path = "tests/raw.rs"]
mod tests;
