//! The notifications of a user as server-sent events.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use mainstay::shutdown::Shutdown;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::store::{Notification, Notifications};
use crate::message::Failure;
use crate::web::{self, Problem};

const LAST: HeaderName = HeaderName::from_static("last-event-id");
/// How often a silent stream shows that it is alive.
const ALIVE: Duration = Duration::from_secs(15);
/// How long a browser waits before it connects again.
const RETRY: Duration = Duration::from_secs(1);

pub(super) fn routes(notifications: Notifications, shutdown: &Shutdown) -> Router {
    Router::new()
        .route("/notifications/{user}", get(events))
        .with_state((notifications, shutdown.clone()))
}

/// `GET /notifications/{user}`: the notifications after the one with the number `last-event-id`,
/// without end. Without that header, it begins with the newest ones.
async fn events(
    State((notifications, shutdown)): State<(Notifications, Shutdown)>,
    Path(user): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let last = web::field(&headers, &LAST)?.map(number).transpose()?;
    let reader = Reader {
        // Before the first look, so that nothing is missed between the two.
        news: notifications.news(),
        after: notifications.start(&user, last).await?,
        notifications,
        user,
    };
    let hello = Event::default().retry(RETRY).comment("connected");
    let events = stream::once(async { Ok(hello) }).chain(reader.events());
    let alive = KeepAlive::new().interval(ALIVE).text("alive");
    let events = Sse::new(shutdown.until_closing(events)).keep_alive(alive);
    Ok(events.into_response())
}

fn number(last: &str) -> Result<i64, Problem> {
    let number = last.parse().ok().filter(|number| *number >= 0);
    number.ok_or_else(|| {
        let text = format!("last-event-id = {last:?} is refused: must be the id of an event");
        Problem::new(StatusCode::BAD_REQUEST, text)
    })
}

/// A reader of the notifications of a user.
struct Reader {
    notifications: Notifications,
    user: String,
    news: Receiver<Arc<str>>,
    /// The last number that was read.
    after: i64,
}

impl Reader {
    /// Without end, unless the database fails. The browser comes again then.
    fn events(self) -> impl Stream<Item = Result<Event, Failure>> {
        let pages = stream::try_unfold(self, async |mut reader| {
            let page = reader.page().await?;
            Ok::<_, Failure>(page.map(|page| (page, reader)))
        });
        pages
            .map_ok(|page| stream::iter(page).map(|one| Ok::<_, Failure>(event(&one))))
            .try_flatten()
    }

    /// Waits for the next notifications.
    async fn page(&mut self) -> Result<Option<Vec<Notification>>, Failure> {
        loop {
            let page = self.notifications.after(&self.user, self.after).await?;
            if let Some(last) = page.last() {
                self.after = last.seq;
                return Ok(Some(page));
            }
            loop {
                match self.news.recv().await {
                    Ok(user) if *user == *self.user => break,
                    Ok(_) => {}
                    // Perhaps this user was among those that were missed.
                    Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return Ok(None),
                }
            }
        }
    }
}

/// The payload with the sentence.
fn event(notification: &Notification) -> Event {
    let mut data = serde_json::from_str(&notification.payload).unwrap_or_default();
    if let serde_json::Value::Object(data) = &mut data {
        data.insert("text".to_owned(), notification.text.as_str().into());
    }
    Event::default()
        .id(notification.seq.to_string())
        .event(&notification.pattern)
        .data(data.to_string())
}
