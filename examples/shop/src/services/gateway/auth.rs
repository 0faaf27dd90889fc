//! Who sends a request: the user of the API key.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use mainstay::{BoxError, RateLimitLayer};
use tonic::{Code, Status};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

use super::Gateway;
use super::memory::Memory;
use super::upstream::within;
use crate::services::users::proto::{AuthenticateRequest, User};
use crate::services::users::{self, Client};
use crate::web::{self, Problem};

const KEY: HeaderName = HeaderName::from_static("x-api-key");
/// An answer of `users` is used again for this time. A key that is taken back still works so long.
const FRESH: Duration = Duration::from_secs(10);
/// The same while `users` gives no answer.
const STALE: Duration = Duration::from_secs(600);
/// A key that no user has is refused again for this time without a call of `users`.
const REFUSED: Duration = Duration::from_secs(5);
/// How many keys that are not known may be looked up in a second: anybody can invent some.
const STRANGERS: u32 = 1_000;
/// How many keys are remembered.
const KEYS: usize = 10_000;
/// The time limit of `users`.
const LIMIT: Duration = Duration::from_secs(1);

/// The user who sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) user: String,
    pub(super) tenant: String,
}

/// The API keys, and their users.
pub(super) struct Keys {
    client: Client,
    /// The same client, for keys that are not known.
    strangers: BoxCloneSyncService<AuthenticateRequest, tonic::Response<User>, Status>,
    known: Memory<String, Caller>,
    refused: Memory<String, ()>,
}

impl Keys {
    pub(super) fn new(users: &str) -> Result<Self, BoxError> {
        let client = users::client(users)?;
        let limit = RateLimitLayer::builder()
            .name("strangers")
            .per(STRANGERS, Duration::from_secs(1))
            .build()?;
        let of_strangers = client.clone();
        let look_up = service_fn(move |request: AuthenticateRequest| {
            let mut client = of_strangers.clone();
            async move { client.authenticate(request).await }
        });
        Ok(Self {
            client,
            strangers: BoxCloneSyncService::new(limit.layer(look_up)),
            known: Memory::new(KEYS),
            refused: Memory::new(KEYS),
        })
    }

    async fn caller(&self, api_key: &str) -> Result<Caller, Problem> {
        let api_key = api_key.to_owned();
        if let Some(caller) = self.known.get(&api_key, FRESH) {
            return Ok(caller);
        }
        if self.refused.get(&api_key, REFUSED).is_some() {
            return Err(unknown());
        }
        let request = AuthenticateRequest {
            api_key: api_key.clone(),
        };
        let looked_up = async {
            if self.known.get(&api_key, STALE).is_some() {
                self.client.clone().authenticate(request).await
            } else {
                self.strangers.clone().oneshot(request).await
            }
        };
        match within(LIMIT, looked_up).await {
            Ok(user) => {
                let user = user.into_inner();
                let caller = Caller {
                    user: user.id,
                    tenant: user.tenant,
                };
                self.known.keep(api_key, caller.clone());
                Ok(caller)
            }
            Err(status) if status.code() == Code::Unauthenticated => {
                self.known.forget(&api_key);
                self.refused.keep(api_key, ());
                Err(unknown())
            }
            Err(status) => match self.known.get(&api_key, STALE) {
                Some(caller) => {
                    metrics::counter!("shop_fallbacks_total", "upstream" => "users").increment(1);
                    tracing::warn!(
                        error = status.message(),
                        "users gives no answer, last known"
                    );
                    Ok(caller)
                }
                None => Err(Problem::of_upstream("users", &status)),
            },
        }
    }
}

fn unknown() -> Problem {
    refused("x-api-key is refused: no user has this key")
}

fn refused(text: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, text)
}

/// Lets only requests of users pass, with their [`Caller`] in the extensions.
pub(super) async fn authenticate(
    State(gateway): State<Gateway>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = match web::field(request.headers(), &KEY) {
        Ok(Some(api_key)) => gateway.0.keys.caller(api_key).await,
        Ok(None) => Err(refused(
            "x-api-key is missing: it must be the key of a user",
        )),
        Err(_) => Err(unknown()),
    };
    match caller {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}
