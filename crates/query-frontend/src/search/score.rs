//! Two measures of how well a text fits a term, added up in the order in which Prometheus does it.

/// What a subsequence scores at most, so that it stays apart from the term itself.
const NOT_EXACT: f64 = 0.999;
/// What each equal character at the beginning, up to four, takes off the distance (Winkler's factor).
const PREFIX_FACTOR: f64 = 0.1;
const PREFIX_MAX: usize = 4;

/// Scores texts that have the characters of a term in their order.
#[derive(Debug)]
pub(super) struct Subsequence {
    term: Vec<char>,
}

/// Scores texts by how many characters they share with a term, near the same places.
#[derive(Debug)]
pub(super) struct JaroWinkler {
    term: Vec<char>,
}

impl Subsequence {
    /// For a term that is not empty.
    pub(super) fn of(term: &str) -> Subsequence {
        Subsequence { term: term.chars().collect() }
    }

    /// 1 for the term itself, 0 for a text that lacks a character of it. Each run of characters counts its length
    /// squared; what lies before and between takes off its part of the text, what lies behind half of that.
    pub(super) fn score(&self, text: &str) -> f64 {
        let text: Vec<char> = text.chars().collect();
        if text == self.term {
            return 1.0;
        }
        let Some(last_start) = text.len().checked_sub(self.term.len()) else { return 0.0 };
        let mut best = -1.0;
        for start in (0..=last_start).filter(|start| self.term.first() == text.get(*start)) {
            // Later starts have less of the text before them.
            let Some(score) = self.score_from(&text, start) else { break };
            if score > best {
                best = score;
            }
        }
        if best < 0.0 {
            return 0.0;
        }
        best / (self.term.len() * self.term.len()) as f64 * NOT_EXACT
    }

    /// The score when the first character is taken from `start`, and each run as early as it comes.
    fn score_from(&self, text: &[char], start: usize) -> Option<f64> {
        let part = 1.0 / text.len() as f64;
        let mut score = 0.0;
        let (mut n_found, mut end, mut at) = (0, 0, start);
        while n_found < self.term.len() {
            let wanted = self.term[n_found];
            at += text[at..].iter().position(|c| *c == wanted)?;
            let gap = at - end;
            if gap > 0 {
                score -= gap as f64 * part;
            }
            let pairs = text[at..].iter().zip(&self.term[n_found..]);
            let run = pairs.take_while(|(a, b)| a == b).count();
            score += (run * run) as f64;
            (n_found, at) = (n_found + run, at + run);
            end = at;
        }
        let rest = text.len() - end;
        if rest > 0 {
            score -= rest as f64 * part * 0.5;
        }
        Some(score)
    }
}

impl JaroWinkler {
    /// For a term that is not empty.
    pub(super) fn of(term: &str) -> JaroWinkler {
        JaroWinkler { term: term.chars().collect() }
    }

    /// From 0 for nothing in common to 1 for equal.
    pub(super) fn score(&self, text: &str) -> f64 {
        let text: Vec<char> = text.chars().collect();
        if text == self.term {
            return 1.0;
        }
        let (short, long) =
            if self.term.len() > text.len() { (&text, &self.term) } else { (&self.term, &text) };
        let (shared_short, shared_long) = shared(short, long);
        let n_shared = shared_short.len() as f64;
        if shared_short.is_empty() {
            return 0.0;
        }
        let n_moved = shared_short.iter().zip(&shared_long).filter(|(a, b)| a != b).count() as f64;
        let (part_short, part_long) = (1.0 / short.len() as f64, 1.0 / long.len() as f64);
        let in_order = (n_shared - n_moved * 0.5) / n_shared;
        let jaro = (n_shared * part_short + n_shared * part_long + in_order) / 3.0;
        let n_prefix = short.iter().zip(long).take(PREFIX_MAX).take_while(|(a, b)| a == b).count();
        jaro + n_prefix as f64 * PREFIX_FACTOR * (1.0 - jaro)
    }
}

/// The characters that both have, not further apart than half the longer one, each side in its own order.
fn shared(short: &[char], long: &[char]) -> (Vec<char>, Vec<char>) {
    let reach = (long.len() / 2).saturating_sub(1);
    let mut is_taken = vec![false; long.len()];
    let mut of_short = Vec::new();
    for (i, c) in short.iter().enumerate() {
        let near = i.saturating_sub(reach)..(i + reach + 1).min(long.len());
        if let Some(j) = near.into_iter().find(|j| !is_taken[*j] && long[*j] == *c) {
            is_taken[j] = true;
            of_short.push(*c);
        }
    }
    let of_long = long.iter().zip(is_taken).filter(|(_, taken)| *taken).map(|(c, _)| *c).collect();
    (of_short, of_long)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn textbook_distances_of_jaro_and_winkler() {
        for (a, b, wanted) in [
            ("martha", "marhta", 0.9611),
            ("dixon", "dicksonx", 0.8133),
            ("dwayne", "duane", 0.8400),
            ("crate", "trace", 0.7333),
            ("ä", "a", 0.0),
            ("same", "same", 1.0),
        ] {
            for (a, b) in [(a, b), (b, a)] {
                let score = JaroWinkler::of(a).score(b);
                assert!((score - wanted).abs() < 5e-5, "{a} {b}: {score}");
            }
        }
    }

    #[test]
    fn the_best_start_of_a_subsequence_counts() {
        let score = |term, text| Subsequence::of(term).score(text);
        assert_eq!(score("ab", "ab"), 1.0);
        assert!(score("ab", "a_ab") > score("ab", "a_b_"));
        assert_eq!(score("abc", "ab"), 0.0);
        assert_eq!(score("é", "e"), 0.0);
    }
}
