//! Compiled plugins on disk, so that a warm start takes milliseconds.
//!
//! Machine code that is read back runs with all rights of this process: deserialising it is the one unsafe step of this crate. So a file is
//! used only when it lies in a folder that nobody else may enter, and when its last bytes are a keyed hash of the rest and of the name that it
//! was stored under. The name holds the component's sha256, the engine's settings and this crate's version. The key lies beside the files,
//! readable to us alone: what someone else put there, or moved there from elsewhere, is compiled anew and never run.
//!
//! What is checked and what is mapped is the same open file.

use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

const KEY_BYTES: usize = 32;
const MAC_BYTES: usize = 32;
const PART_BYTES: usize = 64 << 10;

/// A folder of compiled plugins.
#[derive(Debug)]
pub(crate) struct AotCache {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
    /// Engine settings and versions, hashed: part of every file's name.
    engine_id: String,
}

impl AotCache {
    /// Opens or makes the folder, and its key.
    pub fn open(folder: &Path, engine: &Engine) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let metadata = fs::symlink_metadata(folder)?;
        if !metadata.is_dir() || metadata.uid() != effective_user() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is not a folder of this user"));
        }
        if metadata.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        }
        let key = read_or_make_key(&folder.join("key"))?;
        let mut hasher = ShaHasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        let engine_id = hex::encode(hasher.0.finalize()).get(..16).unwrap_or_default().to_owned();
        Ok(Self { folder: folder.to_owned(), key, engine_id })
    }

    fn name(&self, digest: &str) -> String {
        format!("{digest}-{}.cwasm", self.engine_id)
    }

    /// The compiled component of that digest, when there is one that we stored.
    pub fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let name = self.name(digest);
        let path = self.folder.join(&name);
        let mut file =
            OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(&path).ok()?;
        match self.verify(&name, &mut file) {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(file = %path.display(), "a compiled plugin in the cache is not one that lakehost stored; compiling anew");
                return None;
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "cannot read a compiled plugin from the cache; compiling anew");
                return None;
            }
        }
        // The very file that was checked, whatever its name leads to by now.
        let checked = format!("/proc/self/fd/{}", file.as_raw_fd());
        // SAFETY: the bytes are what `Component::serialize` gave this crate under the same engine settings: their keyed hash holds, and only
        // this user can write to the file that stays open here.
        match unsafe { Component::deserialize_file(engine, checked) } {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "a compiled plugin in the cache does not load; compiling anew");
                None
            }
        }
    }

    /// Keeps a compiled component. Older compilations of the same component go.
    pub fn store(&self, digest: &str, compiled: &[u8]) -> io::Result<()> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let name = self.name(digest);
        let temporary = self.folder.join(format!(
            "{digest}.{}.{}.new",
            std::process::id(),
            COUNTER.fetch_add(1, Ordering::Relaxed)
        ));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(compiled)?;
            let mac = mac_of(&self.key, &name)?.chain_update(compiled);
            file.write_all(&mac.finalize().into_bytes())?;
            fs::rename(&temporary, self.folder.join(&name))
        })();
        if written.is_err() {
            // The first error is the one that matters.
            let _ = fs::remove_file(&temporary);
        }
        written?;
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let other = entry.file_name();
            let other = other.to_string_lossy();
            if other.starts_with(digest) && other.ends_with(".cwasm") && *other != name {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn verify(&self, name: &str, file: &mut File) -> io::Result<bool> {
        let length = file.metadata()?.len();
        let Some(mut left) = length.checked_sub(MAC_BYTES as u64) else { return Ok(false) };
        let mut mac = mac_of(&self.key, name)?;
        let mut part = vec![0; PART_BYTES];
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(PART_BYTES).min(PART_BYTES);
            let part = part.get_mut(..wanted).unwrap_or_default();
            file.read_exact(part)?;
            mac.update(part);
            left -= wanted as u64;
        }
        let mut stored = [0; MAC_BYTES];
        file.read_exact(&mut stored)?;
        Ok(mac.verify_slice(&stored).is_ok())
    }
}

/// A keyed hash that begins with a name.
fn mac_of(key: &[u8; KEY_BYTES], name: &str) -> io::Result<Hmac<Sha256>> {
    let mac = Hmac::<Sha256>::new_from_slice(key).map_err(io::Error::other)?;
    Ok(mac.chain_update((name.len() as u64).to_le_bytes()).chain_update(name))
}

fn read_or_make_key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let read = |mut file: File| {
        let mut key = [0; KEY_BYTES];
        file.read_exact(&mut key).map(|()| key)
    };
    let options = |options: &mut OpenOptions| options.custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path);
    match options(OpenOptions::new().read(true)) {
        Ok(file) => return read(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut key = [0; KEY_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(&key)?;
    // A hard link fails when another process was first: then its key counts.
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary)?;
    match linked {
        Ok(()) => Ok(key),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(options(OpenOptions::new().read(true))?),
        Err(error) => Err(error),
    }
}

fn effective_user() -> u32 {
    // SAFETY: always succeeds and touches no memory.
    unsafe { libc::geteuid() }
}

/// Feeds a sha256 with what is hashed: the same in every process, unlike the standard library's.
struct ShaHasher(Sha256);

impl Hasher for ShaHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        digest.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest component there is: the preamble alone.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn stored(folder: &Path) -> (Engine, AotCache, PathBuf) {
        let engine = crate::engine::start().unwrap();
        let cache = AotCache::open(folder, &engine).unwrap();
        cache.store("abc", &engine.precompile_component(EMPTY).unwrap()).unwrap();
        let path = folder.join(cache.name("abc"));
        (engine, cache, path)
    }

    #[test]
    fn what_was_stored_loads_again() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("deep/er");
        let (engine, cache, _) = stored(&folder);
        assert!(cache.load(&engine, "abc").is_some());
        assert!(cache.load(&engine, "abd").is_none());
        let again = AotCache::open(&folder, &crate::engine::start().unwrap()).unwrap();
        assert!(again.load(&engine, "abc").is_some());
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn what_was_touched_or_moved_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, cache, path) = stored(folder.path());
        let sound = fs::read(&path).unwrap();
        for at in [0, 100, sound.len() / 2, sound.len() - 33, sound.len() - 1] {
            let mut bytes = sound.clone();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert!(cache.load(&engine, "abc").is_none(), "{at}");
        }
        for length in [0, 10, 32, sound.len() - 1] {
            fs::write(&path, &sound[..length]).unwrap();
            assert!(cache.load(&engine, "abc").is_none(), "{length}");
        }
        fs::write(folder.path().join(cache.name("other")), &sound).unwrap();
        assert!(cache.load(&engine, "other").is_none(), "another name");
        fs::write(&path, &sound).unwrap();
        assert!(cache.load(&engine, "abc").is_some());

        let elsewhere = tempfile::tempdir().unwrap();
        let foreign = AotCache::open(elsewhere.path(), &engine).unwrap();
        fs::copy(&path, elsewhere.path().join(foreign.name("abc"))).unwrap();
        assert!(foreign.load(&engine, "abc").is_none(), "another key");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(elsewhere.path().join(foreign.name("abc")), &path).unwrap();
        assert!(cache.load(&engine, "abc").is_none(), "a link");
    }

    #[test]
    fn the_keyed_hash_is_hmac() {
        // RFC 4231 has no 32-byte key; computed with Python's hmac over len || name || data.
        let mac = mac_of(&[7; 32], "name").unwrap().chain_update(b"some ").chain_update(b"bytes");
        assert_eq!(hex::encode(mac.finalize().into_bytes()), EXPECTED_MAC);
    }

    const EXPECTED_MAC: &str = "7fe057d7cde098ce06a8b1103419ae2f62c94ce53a5a2a89f2f603aa3e2843bf";
}
