//! The page at `/`, for a person who opens the address in a browser.

/// The page on the Unix socket, where everything is served.
pub(super) fn local() -> String {
    page(concat!(
        "<li><a href=\"/api/v1/status\">/api/v1/status</a> how tracing stands</li>\n",
        "<li><a href=\"/api/v1/connections\">/api/v1/connections</a> connections now; filters: ",
        "state, older_than, pid, process, local, remote, port, netns, closed, limit</li>\n",
        "<li>/api/v1/connections/ID one connection with its timeline</li>\n",
        "<li><a href=\"/api/v1/diagnosis\">/api/v1/diagnosis</a> what is wrong, worst first; ",
        "thresholds: older_than, at_least, share, window, failures</li>\n",
        "<li>/api/v1/events events as they happen, a line of JSON each</li>\n",
    ))
}

/// The page on TCP, where connections are nobody's business.
pub(super) fn network(socket: &str) -> String {
    let socket = socket.replace('&', "&amp;").replace('<', "&lt;");
    page(&format!(
        "<li>Connections and events are served on the Unix socket only: \
         <code>tcp-trace list</code>, or <code>curl --unix-socket {socket} \
         http://localhost/api/v1/connections</code></li>\n",
    ))
}

fn page(more: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
         <title>tcp-trace</title></head>\n<body>\n<h1>tcp-trace {}</h1>\n\
         <p>Tells why a server is stuck in CLOSE_WAIT, drowning in TIME_WAIT or losing \
         connections.</p>\n<ul>\n\
         <li><a href=\"/metrics\">/metrics</a> for Prometheus</li>\n\
         <li><a href=\"/healthz\">/healthz</a> the process is up</li>\n\
         <li><a href=\"/readyz\">/readyz</a> the tracer answers</li>\n\
         <li><a href=\"/runbooks/\">/runbooks/</a> what each alert means, and what to do</li>\n\
         {more}</ul>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
    )
}
