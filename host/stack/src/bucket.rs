//! The bucket of the stack: looked for, and made when it is not there. Requests are signed by AWS's Signature Version 4.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::digest::of_bytes;
use crate::http;
use crate::settings::Settings;

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
    let headers = sign(settings, method, &path, &host, SystemTime::now().into());
    http::ask(port, method, &path, &headers).map_err(|error| error.to_string())
}

/// The headers that prove who asks.
fn sign(settings: &Settings, method: &str, path: &str, host: &str, time: DateTime<Utc>) -> Vec<String> {
    let stamp = time.format("%Y%m%dT%H%M%SZ").to_string();
    let date = time.format("%Y%m%d").to_string();
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
    let signature = hex::encode(hmac(&key, text.as_bytes()));
    vec![
        format!("x-amz-content-sha256: {empty}"),
        format!("x-amz-date: {stamp}"),
        format!(
            "Authorization: AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            settings.s3_access_key_id
        ),
    ]
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    // Any length of key will do.
    let mac = Hmac::<Sha256>::new_from_slice(key);
    mac.map(|mac| mac.chain_update(message).finalize().into_bytes().to_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::home::Secrets;

    /// The signature that botocore 1.40.0 makes of the same request.
    #[test]
    fn requests_are_signed_as_by_amazon_s_own_client() {
        let secrets = Secrets {
            s3_access_key_id: "lakehost".to_owned(),
            s3_secret_access_key: "a secret/with+signs".to_owned(),
            postgres_password: String::new(),
        };
        let settings = crate::stack::settings(&BTreeMap::new(), &secrets);
        let time = DateTime::from_timestamp(1_709_251_199, 0).unwrap();
        let headers = sign(&settings, "HEAD", "/lakehouse", "127.0.0.1:9000", time);
        assert_eq!(
            headers.last().unwrap(),
            "Authorization: AWS4-HMAC-SHA256 Credential=lakehost/20240229/us-east-1/s3/aws4_request, \
             SignedHeaders=host;x-amz-content-sha256;x-amz-date, \
             Signature=ca1d901395f2f097a5460b14e90aadffab6e18b7bac2fea78cbee53c512c9e23"
        );
    }
}
