//! Makes a query that is answered wrongly as small as it gets while it stays so.

use super::queries::Query;
use super::servers::{Servers, ask};
use super::{Finding, Judgement, judge};

/// How many smaller queries are tried.
const TRIES: usize = 150;
/// How much of an answer is shown.
const SHOWN_BYTES: usize = 1_200;

/// Prints a finding: the query, the smallest like it, and both answers.
pub(super) fn show(finding: &Finding, servers: &Servers) {
    println!("\nDIFFERENT {}: {}", finding.when, finding.query);
    // Blocks cannot become a head again, so they answer for it here.
    let url = if finding.when == "half and half" { servers.half.url() } else { servers.whole.url() };
    let wrong = |query: &Query| {
        let judgement = judge(&servers.truth, url, query, &ask(&servers.truth, query));
        judgement.difference.is_some().then_some(judgement)
    };
    match shrunk(&finding.query, wrong) {
        Some((query, judgement)) => {
            println!("  smaller: {query}");
            print_answers(&judgement);
        }
        None => print_answers(&finding.judgement),
    }
}

fn print_answers(judgement: &Judgement) {
    let cut = |text: &str| text.chars().take(SHOWN_BYTES).collect::<String>();
    if let Some(difference) = &judgement.difference {
        println!("  {:?}: {}", difference.what, cut(&difference.text));
    }
    println!("  Prometheus: {}\n  Firn:       {}", cut(&judgement.truth.body), cut(&judgement.found.body));
}

/// The smallest query found that is still wrong; `None` if even the whole one no longer is.
fn shrunk(query: &Query, wrong: impl Fn(&Query) -> Option<Judgement>) -> Option<(Query, Judgement)> {
    let mut smallest = (query.clone(), wrong(query)?);
    let mut tries = TRIES;
    loop {
        let mut candidates = smallest.0.tree.smaller();
        candidates.sort_by_key(|tree| tree.print().len());
        let mut better = None;
        for candidate in candidates {
            if tries == 0 {
                return Some(smallest);
            }
            tries -= 1;
            let candidate = smallest.0.about(candidate);
            if let Some(judgement) = wrong(&candidate) {
                better = Some((candidate, judgement));
                break;
            }
        }
        match better {
            Some(found) => smallest = found,
            None => return Some(smallest),
        }
    }
}
