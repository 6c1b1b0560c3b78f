//! The bucket of the stack: looked for, and made when it is not there. Requests are signed by AWS's Signature Version 4.

use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};

use crate::digest::{hex, of_bytes};
use crate::http;
use crate::settings::Settings;

/// SHA-256 hashes blocks of so many bytes.
const BLOCK: usize = 64;

/// Makes sure that the bucket is there; else what the store says.
pub fn ensure(settings: &Settings, port: u16) -> Result<(), String> {
    match exists(settings, port)? {
        true => Ok(()),
        false => {
            let made = signed(settings, port, "PUT")?;
            match made.status {
                200 => exists(settings, port)?.then_some(()).ok_or_else(|| "a new bucket is not there".to_owned()),
                status => Err(format!("the bucket {} cannot be made: {status} {}", settings.bucket, body(&made.text))),
            }
        }
    }
}

/// Whether the store takes signed requests yet: it answers 503 while it reads who may do what, also when it says that it is ready.
pub fn is_open(settings: &Settings, port: u16) -> bool {
    signed(settings, port, "HEAD").is_ok_and(|answer| answer.status != 503)
}

/// Whether the bucket is there, for our keys.
pub fn exists(settings: &Settings, port: u16) -> Result<bool, String> {
    let answer = signed(settings, port, "HEAD")?;
    match answer.status {
        200 => Ok(true),
        404 => Ok(false),
        status => Err(format!("the bucket {} is answered with {status}", settings.bucket)),
    }
}

fn body(text: &str) -> &str {
    text.split_once("\r\n\r\n").map_or("", |(_, body)| body.trim())
}

fn signed(settings: &Settings, port: u16, method: &str) -> Result<http::Answer, String> {
    let path = format!("/{}", settings.bucket);
    let host = format!("127.0.0.1:{port}");
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?.as_secs();
    let headers = sign(settings, method, &path, &host, time);
    http::ask(port, method, &path, &headers).map_err(|error| error.to_string())
}

/// The headers that prove who asks.
fn sign(settings: &Settings, method: &str, path: &str, host: &str, time: u64) -> Vec<String> {
    let (date, stamp) = dates(time);
    let empty = of_bytes(b"");
    let names = "host;x-amz-content-sha256;x-amz-date";
    let canonical = format!(
        "{method}\n{path}\n\nhost:{host}\nx-amz-content-sha256:{empty}\nx-amz-date:{stamp}\n\n{names}\n{empty}"
    );
    let scope = format!("{date}/{}/s3/aws4_request", settings.region);
    let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", of_bytes(canonical.as_bytes()));
    let first = hmac(format!("AWS4{}", settings.s3_secret_access_key).as_bytes(), date.as_bytes());
    let key =
        [settings.region.as_str(), "s3", "aws4_request"].iter().fold(first, |key, part| hmac(&key, part.as_bytes()));
    let signature = hex(&hmac(&key, text.as_bytes()));
    vec![
        format!("x-amz-content-sha256: {empty}"),
        format!("x-amz-date: {stamp}"),
        format!(
            "Authorization: AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            settings.s3_access_key_id
        ),
    ]
}

/// HMAC-SHA-256, RFC 2104.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK];
    let hashed = Sha256::digest(key);
    let key = if key.len() > BLOCK { hashed.as_slice() } else { key };
    block.iter_mut().zip(key).for_each(|(byte, key)| *byte = *key);
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

/// `20130524` and `20130524T000000Z` of a Unix time.
fn dates(time: u64) -> (String, String) {
    let (days, seconds) = (time / 86_400, time % 86_400);
    // Days since 0000-03-01, in eras of 400 years; Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let date = format!("{year:04}{month:02}{day:02}");
    let stamp = format!("{date}T{:02}{:02}{:02}Z", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    (date, stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_utc() {
        for (time, stamp) in [
            (0, "19700101T000000Z"),
            (1_369_353_600, "20130524T000000Z"),
            (1_709_251_199, "20240229T235959Z"),
            (4_102_444_800, "21000101T000000Z"),
        ] {
            assert_eq!(dates(time).1, stamp);
        }
    }

    /// Test case 2 of RFC 4231, and one with a key longer than a block (case 6).
    #[test]
    fn hmac_is_the_rfc_s() {
        assert_eq!(
            hex(&hmac(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }
}
