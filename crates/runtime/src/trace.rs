use std::future::Future;

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// Which trace a request belongs to (W3C Trace Context), as it came and as it is handed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    traceparent: String,
    tracestate: String,
}

/// Vendors' entries beyond this are left behind (the recommendation says: hand on 512 at least).
const MAX_STATE: usize = 512;

impl TraceContext {
    /// The context that two headers name; a `traceparent` that is none means no context.
    pub fn parse(traceparent: &str, tracestate: &str) -> Option<TraceContext> {
        let fields: Vec<&str> = traceparent.split('-').collect();
        let [version, trace_id, span_id, flags] = fields[..] else { return None };
        let is_hex = |text: &str, len: usize| {
            text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let is_some = |id: &str| id.bytes().any(|b| b != b'0');
        let holds = is_hex(version, 2) && version != "ff" && is_hex(flags, 2);
        if !holds || !is_hex(trace_id, 32) || !is_hex(span_id, 16) || !is_some(trace_id) || !is_some(span_id)
        {
            return None;
        }
        let is_text = tracestate.len() <= MAX_STATE && tracestate.bytes().all(|b| (0x20..0x7F).contains(&b));
        let tracestate = if is_text { tracestate.to_string() } else { String::new() };
        Some(TraceContext { traceparent: traceparent.to_string(), tracestate })
    }

    /// The context of what runs here.
    pub fn current() -> Option<TraceContext> {
        CURRENT.try_with(TraceContext::clone).ok()
    }

    /// Runs `future` as part of this trace. What it spawns is not part of it.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// The header `traceparent`.
    pub fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// The header `tracestate`, may be empty.
    pub fn tracestate(&self) -> &str {
        &self.tracestate
    }

    /// The trace's id in hexadecimal.
    pub fn trace_id(&self) -> &str {
        self.traceparent.get(3..35).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn only_a_context_of_the_right_form_is_one() {
        let context = TraceContext::parse(PARENT, "a=b").unwrap();
        assert_eq!((context.trace_id(), context.tracestate()), (&PARENT[3..35], "a=b"));
        for bad in [
            "",
            "00-1-2-01",
            &PARENT.to_uppercase(),
            &PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
        ] {
            assert_eq!(TraceContext::parse(bad, ""), None, "{bad}");
        }
        assert_eq!(TraceContext::parse(PARENT, "\n").unwrap().tracestate(), "");
    }

    #[tokio::test]
    async fn a_context_holds_inside_its_scope_only() {
        let context = TraceContext::parse(PARENT, "").unwrap();
        let inside = context.clone().scope(async { TraceContext::current() }).await;
        assert_eq!((inside, TraceContext::current()), (Some(context), None));
    }
}
