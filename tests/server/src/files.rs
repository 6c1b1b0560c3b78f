//! Files of the served folder, and their entity tags.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};

use crate::{lock, plain_path};

/// One file, opened.
#[derive(Debug)]
pub(crate) struct Found {
    pub file: File,
    pub length: u64,
    pub modified: SystemTime,
    /// Quoted, strong: a prefix of the content's sha256.
    pub etag: String,
    pub content_type: &'static str,
}

#[derive(Debug)]
pub(crate) struct Files {
    folder: PathBuf,
    /// Tags by path, with the length and time that they were made of.
    tags: Mutex<HashMap<PathBuf, (u64, SystemTime, String)>>,
}

impl Files {
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self { folder: folder.canonicalize()?, tags: Mutex::default() })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of a request path, when it is one of the folder's.
    pub(crate) fn find(&self, path: &str) -> io::Result<Option<Found>> {
        let decoded = |segment| percent_decode_str(segment).decode_utf8_lossy().into_owned();
        let segments: Vec<String> = path.split('/').filter(|segment| !segment.is_empty()).map(decoded).collect();
        let unsafe_segment =
            |segment: &String| segment == ".." || segment == "." || segment.contains(['/', '\\', '\0']);
        if segments.iter().any(unsafe_segment) {
            return Ok(None);
        }
        let Ok(real) = plain_path(&self.folder, &segments).canonicalize() else { return Ok(None) };
        if !real.starts_with(&self.folder) || !real.is_file() {
            return Ok(None);
        }
        let file = File::open(&real)?;
        let metadata = file.metadata()?;
        let (length, modified) = (metadata.len(), metadata.modified()?);
        let etag = self.tag(&real, length, modified)?;
        Ok(Some(Found { file, length, modified, etag, content_type: content_type(&real) }))
    }

    fn tag(&self, path: &Path, length: u64, modified: SystemTime) -> io::Result<String> {
        if let Some((known_length, known_modified, tag)) = lock(&self.tags).get(path)
            && (*known_length, *known_modified) == (length, modified)
        {
            return Ok(tag.clone());
        }
        let mut hasher = Sha256::new();
        let mut file = File::open(path)?;
        let mut block = vec![0; 256 * 1024];
        loop {
            let count = file.read(&mut block)?;
            match block.get(..count) {
                Some(bytes) if count > 0 => hasher.update(bytes),
                _ => break,
            }
        }
        let tag = tag_of(hasher);
        lock(&self.tags).insert(path.to_owned(), (length, modified, tag.clone()));
        Ok(tag)
    }
}

fn tag_of(hasher: Sha256) -> String {
    format!("\"{:.32}\"", hex::encode(hasher.finalize()))
}

/// The tag of bytes that are no file.
pub(crate) fn tag_of_bytes(bytes: &[u8]) -> String {
    tag_of(Sha256::new_with_prefix(bytes))
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => "text/csv",
        Some("json") => "application/json",
        Some("html") => "text/html; charset=utf-8",
        Some("txt" | "md") => "text/plain; charset=utf-8",
        Some("parquet") => "application/vnd.apache.parquet",
        _ => "application/octet-stream",
    }
}
