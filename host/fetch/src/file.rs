//! `file://` URLs: a local file under a grant, read where it lies. Links may not lead out of the granted folder.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use url::Url;

use crate::allow::{Allowlist, Refused};
use crate::body::Shared;
use crate::error::{Error, Result};
use crate::spool::SpoolSummary;
use crate::text::display_url;

/// Bytes hashed at a time.
const HASH_BLOCK_BYTES: usize = 256 * 1024;

/// A local file that a grant covers, opened.
pub(crate) struct LocalFile {
    pub file: File,
    pub length: u64,
}

/// Opens the file of a URL that [`Allowlist::check`] let pass. What counts is where the file really is: the grant is asked again for the
/// path without links, and once more for the file that was opened.
pub(crate) fn open(url: &Url, allow: &Allowlist) -> Result<LocalFile> {
    let shown = display_url(url);
    let failed = |error: &std::io::Error| Error::io(format!("open {shown}"), error);
    let path = url
        .to_file_path()
        .map_err(|()| Error::BadUrl { url: shown.clone(), detail: "it is no path on this machine".to_owned() })?;
    let real = path.canonicalize().map_err(|error| failed(&error))?;
    check_inside(&real, allow, &shown)?;
    // `O_NONBLOCK`: opening a pipe must not wait for its other end.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(&real)
        .map_err(|error| failed(&error))?;
    if let Some(opened) = opened_path(&file) {
        check_inside(&opened, allow, &shown)?;
    }
    let metadata = file.metadata().map_err(|error| failed(&error))?;
    if !metadata.is_file() {
        return Err(Error::BadUrl { url: shown, detail: "it is not a regular file".to_owned() });
    }
    Ok(LocalFile { file, length: metadata.len() })
}

/// Where the opened file is, as the kernel knows it.
fn opened_path(file: &File) -> Option<PathBuf> {
    use std::os::fd::AsRawFd;
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

fn check_inside(real: &Path, allow: &Allowlist, shown: &str) -> Result<()> {
    let inside = allow.grants.iter().filter_map(|grant| grant.path()).any(|granted| {
        // The granted folder may itself be reached through a link: that is the operator's choice.
        granted.canonicalize().is_ok_and(|granted| real.starts_with(granted))
    });
    if inside {
        return Ok(());
    }
    let reason = "it is a link that leads out of what is granted".to_owned();
    Err(Refused { url: shown.to_owned(), reason, grant_line: None }.into())
}

/// Hashes the whole file and proves that it was the same file all the time. Blocks.
pub(crate) fn hash(shared: &Shared, length: u64) -> Result<SpoolSummary> {
    let file = shared.file();
    let failed = |error: &std::io::Error| Error::io(format!("read {}", shared.url), error);
    let identity =
        || file.metadata().map(|data| (data.len(), data.mtime(), data.mtime_nsec())).map_err(|error| failed(&error));
    let before = identity()?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; HASH_BLOCK_BYTES];
    let mut position = 0;
    loop {
        if !shared.is_arriving() {
            return Err(Error::Cancelled);
        }
        let count = match file.read_at(&mut block, position) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(&error)),
        };
        let Some(bytes) = block.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
        hasher.update(bytes);
        position += count as u64;
    }
    if identity()? != before || position != length {
        let detail = "someone wrote to it while it was read".to_owned();
        return Err(Error::Changed { url: shared.url.clone(), detail });
    }
    Ok(SpoolSummary { length, sha256: hasher.finalize().into() })
}

/// Hashes in the background and tells the readers.
pub(crate) fn hash_in_background(handle: &tokio::runtime::Handle, shared: Arc<Shared>, length: u64) {
    let guard = crate::download::FailOnDrop(Arc::clone(&shared));
    handle.spawn_blocking(move || {
        match hash(&shared, length).and_then(|summary| shared.finish(summary)) {
            Ok(()) => {}
            Err(error) => shared.fail(error),
        }
        drop(guard);
    });
}
