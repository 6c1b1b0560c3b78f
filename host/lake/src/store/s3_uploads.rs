//! Uploads that nobody finished. The object store library has no call for them, so the one request is signed and read here.

use std::io;

use object_store::aws::AwsAuthorizer;
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::path::Path;

use super::PendingUpload;
use super::refusal::io_error;
use super::s3::Bucket;

/// An answer longer than this is not one.
const PAGES: usize = 1_000;

/// The unfinished uploads under a folder.
pub(super) async fn list(bucket: &Bucket, folder: &Path) -> io::Result<Vec<PendingUpload>> {
    of(bucket, &format!("{folder}/")).await
}

/// The unfinished uploads whose keys begin with `prefix`. MinIO knows those of one whole key alone.
pub(super) async fn of(bucket: &Bucket, prefix: &str) -> io::Result<Vec<PendingUpload>> {
    let options = &bucket.options;
    let region = options.region.clone().or_else(|| std::env::var("AWS_REGION").ok()).unwrap_or("us-east-1".to_owned());
    let name = &bucket.name;
    let base = match &options.endpoint {
        Some(endpoint) if options.path_style => format!("{}/{name}", endpoint.trim_end_matches('/')),
        Some(endpoint) => match endpoint.split_once("://") {
            Some((scheme, host)) => format!("{scheme}://{name}.{}", host.trim_end_matches('/')),
            None => return Err(io::Error::other("the endpoint has no scheme")),
        },
        None => format!("https://s3.{region}.amazonaws.com/{name}"),
    };
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(std::time::Duration::from_secs(60));
    let client = options.tls.apply(client)?.build().map_err(io::Error::other)?;
    let mut found = Vec::new();
    let (mut key_marker, mut id_marker) = (String::new(), String::new());
    for _ in 0..PAGES {
        // In the order of names, as the signature has it.
        let mut query = Vec::new();
        if !key_marker.is_empty() {
            query.push(format!("key-marker={}", escaped(&key_marker)));
        }
        query.push(format!("prefix={}", escaped(prefix)));
        if !id_marker.is_empty() {
            query.push(format!("upload-id-marker={}", escaped(&id_marker)));
        }
        query.push("uploads=".to_owned());
        let url = format!("{base}?{}", query.join("&"));
        let text = ask(bucket, &client, &url, &region).await?;
        for upload in elements(&text, "Upload") {
            let (Some(key), Some(id)) = (element(upload, "Key"), element(upload, "UploadId")) else { continue };
            let started = element(upload, "Initiated").and_then(|time| {
                arrow_cast::parse::string_to_timestamp_nanos(&time).ok().map(|nanos| nanos / 1_000_000)
            });
            found.push(PendingUpload {
                location: format!("s3://{name}/{key}"),
                upload_id: id,
                started_ms: started.unwrap_or(0),
            });
        }
        if element(&text, "IsTruncated").as_deref() != Some("true") {
            return Ok(found);
        }
        key_marker = element(&text, "NextKeyMarker").unwrap_or_default();
        id_marker = element(&text, "NextUploadIdMarker").unwrap_or_default();
        if key_marker.is_empty() {
            return Ok(found);
        }
    }
    Ok(found)
}

async fn ask(bucket: &Bucket, client: &reqwest::Client, url: &str, region: &str) -> io::Result<String> {
    let credential = bucket.client.credentials().get_credential().await.map_err(io_error)?;
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.uri_mut() = url.parse().map_err(io::Error::other)?;
    AwsAuthorizer::new(&credential, "s3", region).authorize(&mut request, None);
    let answer = client.get(url).headers(request.headers().clone()).send().await.map_err(io::Error::other)?;
    let status = answer.status();
    let text = answer.text().await.map_err(io::Error::other)?;
    if status.is_success() {
        return Ok(text);
    }
    let said = element(&text, "Code").unwrap_or_else(|| status.to_string());
    let kind = match status.as_u16() {
        401 | 403 => io::ErrorKind::PermissionDenied,
        404 => io::ErrorKind::NotFound,
        _ => io::ErrorKind::Other,
    };
    Err(io::Error::new(kind, format!("the object store does not list uploads: {said}")))
}

/// The insides of all elements of a name; they do not nest here.
fn elements<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    text.split(open.as_str())
        .skip(1)
        .filter_map(|rest| rest.split_once(close.as_str()))
        .map(|(inside, _)| inside)
        .collect()
}

/// The text of the first element of a name.
fn element(text: &str, name: &str) -> Option<String> {
    let inside = elements(text, name).into_iter().next()?;
    let plain = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&apos;", "'"),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ];
    Some(plain.iter().fold(inside.to_owned(), |text, (from, to)| text.replace(from, to)))
}

/// As a signature counts it: everything but letters, digits and `-._~`.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
