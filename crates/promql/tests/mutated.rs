//! What the fuzz target `parse` asks, over seeded mutations, so that every run of the suite asks it.

const EXPRESSIONS: [&str; 12] = [
    "up",
    r#"sum by (job, "my.label") (rate(http_requests_total{code=~"5..",job!="x"}[5m] offset -1h))"#,
    "histogram_quantile(0.99, sum without (instance) (rate(h_bucket[1m30s])))",
    "a + on (x) group_left (y) b * ignoring (z) c ^ -2",
    "max_over_time(rate(x[1m])[1h:5m] @ 1600000000.5)",
    "topk(5, {__name__=~\"a|b\"} @ end()) > bool 1 and y unless z or w",
    "label_replace(up, 'dst', '$1', `src`, \"(.*)\\n\\u00e9\")",
    "-1e-3 + 0x1F + .5 + Inf - NaN",
    "count_values(\"v\", quantile(0.5, x)) atan2 y",
    "absent(nonexistent{job=\"a\"} offset 5m @ start())",
    "{\"quoted metric\", \"a b\"=\"c\"}[5m]",
    "sum(x) # a comment\n / 2",
];
const PIECES: [&str; 14] =
    ["(", ")", "[", "]", "{", "}", "5m", "@", "offset", "\"", "by", "-", "\u{e9}", "bool"];

/// A small generator with a seed, so that a failure repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }

    /// One to three changes: a character or a piece removed, repeated from elsewhere, or put in.
    fn mutate(&mut self, text: &str) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        for _ in 0..=self.below(2) {
            let at = self.below(chars.len());
            let end = (at + 1 + self.below(6)).min(chars.len());
            match self.below(4) {
                0 => drop(chars.drain(at..end)),
                1 => {
                    let piece = chars[at..end].to_vec();
                    let to = self.below(chars.len());
                    chars.splice(to..to, piece);
                }
                2 => {
                    let piece = PIECES[self.below(PIECES.len())];
                    chars.splice(at..at, piece.chars());
                }
                _ => {
                    let other = EXPRESSIONS[self.below(EXPRESSIONS.len())];
                    chars.splice(at..end, other.chars());
                }
            }
        }
        chars.into_iter().collect()
    }
}

#[test]
fn a_mutated_expression_is_refused_or_prints_as_what_it_is() {
    let mut random = Random(0x9E37);
    let (mut parsed, mut refused) = (0, 0);
    for i in 0..20_000 {
        let text = random.mutate(EXPRESSIONS[i % EXPRESSIONS.len()]);
        let Ok(expr) = promql::parse(&text) else {
            refused += 1;
            continue;
        };
        let printed = expr.to_string();
        let again = promql::parse(&printed).unwrap_or_else(|e| panic!("{text:?} prints {printed:?}: {e}"));
        assert_eq!(again.to_string(), printed, "{text:?}");
        parsed += 1;
    }
    println!("{parsed} parsed, {refused} refused");
    assert!(parsed > 1000 && refused > 1000, "{parsed} {refused}");
}
