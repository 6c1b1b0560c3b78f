//! SHA-256 as hexadecimal text.

use std::io::Read as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

pub fn of_bytes(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

pub fn of_file(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(digest.finalize())),
            read => digest.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}
