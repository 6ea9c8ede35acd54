//! What a request on TCP must get past before it is looked at.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{
    answer::Failure,
    origin::Origin,
    tally::{Refused, Tally},
    web::passwords::{Passwords, Refusal},
};

/// What the guard works with.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) passwords: Passwords,
    pub(super) tally: Arc<Tally>,
}

/// The rate, then the password; each answer gets the headers of the web configuration.
pub(super) async fn every_request(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(origin) = request.extensions().get::<Arc<Origin>>().map(Arc::clone) else {
        return unplaced();
    };
    let mut response = match guard.let_in(&origin, request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(why) => {
            guard.tally.refused(why);
            refusal(why)
        }
    };
    for (name, value) in &origin.web.headers {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

impl Guard {
    async fn let_in(&self, origin: &Origin, headers: &HeaderMap) -> Result<(), Refused> {
        let web = &origin.web;
        if web.rate.as_ref().is_some_and(|rate| !rate.take()) {
            return Err(Refused::RateLimit);
        }
        if web.users.is_empty() {
            return Ok(());
        }
        let checked = self.passwords.check(&web.users, headers, origin.peer).await;
        checked.map_err(|refusal| match refusal {
            Refusal::Unknown => Refused::Unauthenticated,
            Refusal::Busy => Refused::PasswordQueue,
        })
    }
}

/// Connections are shown to who has proved who they are, and on loopback to programs of this host.
/// By what the file says now: a listener whose users were taken away shows them to nobody.
pub(super) async fn api(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let Some(origin) = request.extensions().get::<Arc<Origin>>() else { return unplaced() };
    let why = if origin.web.authenticates() {
        None
    } else if !origin.is_local() {
        Some(Refused::Unproved)
    } else if !origin.names_this_host(request.uri(), request.headers()) {
        Some(Refused::ForeignHost)
    } else {
        None
    };
    match why {
        None => next.run(request).await,
        Some(why) => {
            guard.tally.refused(why);
            refusal(why)
        }
    }
}

fn refusal(why: Refused) -> Response {
    let mut response = Failure::Refused(why).into_response();
    if why == Refused::Unauthenticated {
        let basic = HeaderValue::from_static("Basic realm=\"tcp-trace\", charset=\"UTF-8\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, basic);
    }
    response
}

/// Nobody knows where it came from: a fault of ours, and no reason to let it in.
fn unplaced() -> Response {
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
