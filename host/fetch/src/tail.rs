//! The end of a body ahead of the rest: a footer is read while the body before it still arrives.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use reqwest::{Method, StatusCode};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::body::Shared;
use crate::fetcher::FetchLimits;
use crate::head::{Head, range_headers};
use crate::headers::{EntityTag, accepts_ranges, content_range};
use crate::http::{Answer, HttpClient, Outgoing};
use crate::retry::Retry;

/// Where the end of a body can be asked for ahead of the rest.
pub(crate) struct TailSource {
    pub client: Arc<HttpClient>,
    pub outgoing: Outgoing,
    pub handle: Handle,
}

impl std::fmt::Debug for TailSource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TailSource").field("url", &self.outgoing.shown()).finish_non_exhaustive()
    }
}

impl TailSource {
    /// A tail source for an answer, when its server promises to serve ranges of the same bytes.
    pub(crate) fn of(client: &Arc<HttpClient>, outgoing: &Outgoing, head: &Head, handle: &Handle) -> Option<Self> {
        let strong = head.etag.as_ref().is_some_and(EntityTag::is_strong);
        let fits = outgoing.method == Method::GET && head.status == 200 && strong && accepts_ranges(&head.headers);
        fits.then(|| Self { client: Arc::clone(client), outgoing: outgoing.clone(), handle: handle.clone() })
    }

    /// How far the tail must lie beyond what has arrived for a second request to be faster.
    pub(crate) fn worthwhile_bytes(&self) -> u64 {
        self.client.limits().tail_distance_bytes
    }

    pub(crate) fn ask(&self, shared: Arc<Shared>, offset: u64) -> AbortHandle {
        let (client, outgoing) = (Arc::clone(&self.client), self.outgoing.clone());
        let question = TailQuestion { shared, offset };
        let task = self.handle.spawn(async move {
            let tail = fetch_tail(&client, &outgoing, &question.shared.head(), offset).await;
            question.shared.set_tail(offset, tail);
        });
        task.abort_handle()
    }
}

/// An open question for the tail: answered with "no" when nothing else was said.
struct TailQuestion {
    shared: Arc<Shared>,
    offset: u64,
}

impl Drop for TailQuestion {
    fn drop(&mut self) {
        self.shared.set_tail(self.offset, None);
    }
}

/// The bytes from `offset` to the end, when the server answers with exactly them under the same tag.
async fn fetch_tail(client: &HttpClient, outgoing: &Outgoing, head: &Head, offset: u64) -> Option<Bytes> {
    let length = head.length?;
    let wanted = usize::try_from(length.checked_sub(offset)?).ok()?;
    let asked = range_headers(&format!("bytes={offset}-{}", length.checked_sub(1)?), head.range_validator()?)?;
    // One try: the body itself is on its way.
    let mut retry = Retry::new(&FetchLimits { tries: 1, ..client.limits().clone() });
    let answer = client.send(outgoing, &asked, &[], &mut retry).await.ok()?;
    let range = content_range(answer.headers())?;
    let exact = range.range == Some((offset, length - 1)) && range.total.is_none_or(|total| total == length);
    let same_tag = EntityTag::of(answer.headers()).is_some() && head.differs(answer.headers(), range.total).is_none();
    if answer.status() != StatusCode::PARTIAL_CONTENT || !exact || !same_tag {
        return None;
    }
    let Answer { response, mut ticket } = answer;
    let mut bytes = Vec::with_capacity(wanted);
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.ok()?;
        ticket.received(chunk.len() as u64);
        if bytes.len() + chunk.len() > wanted {
            return None;
        }
        bytes.extend_from_slice(&chunk);
    }
    (bytes.len() == wanted).then(|| Bytes::from(bytes))
}
