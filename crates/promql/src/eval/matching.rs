//! Operators between two vectors: which rows belong together is found out once, from their labels; whether they are
//! there together is looked at by step.

use std::collections::HashMap;

use model::{Labels, METRIC_NAME, SeriesId, push_label};

use super::binary::LastNotices;
use super::element::{Element, changes_meaning, operate};
use super::output::{Output, element};
use super::{EvalError, Evaluator, Grid, Lease, PLACE_BYTES, Sink, Vector};
use crate::ast::{Binary, BinaryOp, Cardinality, Span, VectorMatching};
use crate::functions::labels::{is_metadata, to_go};

/// The labels by which rows find each other.
struct Signature<'m> {
    matching: &'m VectorMatching,
    numbers: HashMap<SeriesId, usize>,
    key: Vec<u8>,
}

impl<'m> Signature<'m> {
    fn new(matching: &'m VectorMatching) -> Signature<'m> {
        Signature { matching, numbers: HashMap::new(), key: Vec::new() }
    }

    /// The number of a row's signature.
    fn of(&mut self, labels: &Labels) -> usize {
        self.key.clear();
        for (name, value) in labels.iter().filter(|(name, _)| is_matched(self.matching, name)) {
            push_label(&mut self.key, name, value);
        }
        let next = self.numbers.len();
        *self.numbers.entry(SeriesId::of_run(&self.key)).or_insert(next)
    }

    fn of_all(&mut self, rows: &Vector) -> Vec<usize> {
        rows.heads().iter().map(|head| self.of(&head.labels)).collect()
    }
}

fn is_matched(matching: &VectorMatching, name: &str) -> bool {
    let is_listed = matching.labels.iter().any(|l| l == name);
    if matching.on { is_listed } else { !is_listed && name != METRIC_NAME }
}

fn matched_labels(matching: &VectorMatching, labels: &Labels) -> Labels {
    labels.without(|name| !is_matched(matching, name))
}

impl Evaluator<'_> {
    pub(super) fn matched_rows(
        &self,
        binary: &Binary,
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let left = self.vector(&binary.lhs, grid)?;
        let result = self.matched(binary, span, left, grid)?;
        self.emit(result, sink)
    }

    /// The result of an operation whose left side is at hand.
    pub(super) fn matched(
        &self,
        binary: &Binary,
        span: Span,
        left: Vector,
        grid: Grid,
    ) -> Result<Vector, EvalError> {
        let Some(matching) = &binary.matching else {
            return Err(EvalError::Execution("unexpected error: vectors without matching".to_string()));
        };
        let right = self.vector(&binary.rhs, grid)?;
        let _signatures = self.lease(MATCHED_BYTES * (left.len() + right.len()))?;
        let result = match binary.op {
            BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => {
                self.set_operation(binary.op, &left, &right, Signature::new(matching), grid)?
            }
            _ => {
                let is_swapped = matching.cardinality == Cardinality::OneToMany;
                let (many, one) = if is_swapped { (&right, &left) } else { (&left, &right) };
                let mut join = Join::new(self, binary, matching, many, one, grid)?;
                join.refuse_duplicates();
                join.pair_many()?;
                join.pair_unmatched()?;
                join.finish(span)?
            }
        };
        self.release(left);
        self.release(right);
        Ok(result)
    }

    fn set_operation(
        &self,
        op: BinaryOp,
        left: &Vector,
        right: &Vector,
        mut signature: Signature<'_>,
        grid: Grid,
    ) -> Result<Vector, EvalError> {
        let of_left = signature.of_all(left);
        let of_right = signature.of_all(right);
        let signatures = signature.numbers.len();
        let _presence = self.lease(signatures.saturating_mul(grid.steps))?;
        let mut result = Output::new(self, grid);
        if op == BinaryOp::Or {
            let in_left = presence(left, &of_left, signatures);
            for row in 0..left.len() {
                result.copy(left, row, |_| true)?;
            }
            for (row, number) in of_right.iter().enumerate() {
                result.copy(right, row, |step| !in_left[number * grid.steps + step])?;
            }
            return Ok(result.vector);
        }
        let in_right = presence(right, &of_right, signatures);
        let wanted = op == BinaryOp::And;
        for (row, number) in of_left.iter().enumerate() {
            result.copy(left, row, |step| in_right[number * grid.steps + step] == wanted)?;
        }
        Ok(result.vector)
    }
}

/// What finding the signature of a row takes, and the rows of a signature.
const MATCHED_BYTES: usize = 2 * PLACE_BYTES;

/// By signature and step, whether there is a sample.
fn presence(rows: &Vector, signatures: &[usize], n_signatures: usize) -> Vec<bool> {
    let steps = rows.steps();
    let mut present = vec![false; n_signatures * steps];
    for (row, number) in signatures.iter().enumerate() {
        for step in 0..steps {
            present[number * steps + step] |= rows.is_present(row, step);
        }
    }
    present
}

/// An arithmetic or comparison operator between vectors. The side "one" has at most one sample per signature and
/// step; without `group_left` or `group_right`, so has the side "many".
struct Join<'j> {
    binary: &'j Binary,
    matching: &'j VectorMatching,
    many: &'j Vector,
    one: &'j Vector,
    of_many: Vec<usize>,
    of_one: Vec<usize>,
    /// By signature, the rows of the side "one".
    one_rows: Vec<Vec<usize>>,
    /// The steps at which anything can come of it.
    active: Vec<usize>,
    steps: usize,
    output: Output<'j>,
    /// By signature and step, whether a sample of the side "many" found its match.
    matched: Vec<bool>,
    /// With `group_left`: at which steps a signature has given a result with certain labels.
    given: Vec<Vec<bool>>,
    given_by: HashMap<(usize, SeriesId), usize>,
    notices: LastNotices<'j>,
    trouble: Option<Trouble>,
    /// For `matched` and `given`.
    room: Lease<'j>,
}

/// The first thing that went wrong, in the order of steps.
struct Trouble {
    step: usize,
    phase: u8,
    error: EvalError,
}

/// Where the results of two rows go.
struct Destination {
    row: Option<usize>,
    labels: Labels,
    /// Which of [`Join::given`] tells where there is a result already.
    given: Option<usize>,
}

impl<'j> Join<'j> {
    fn new(
        evaluator: &'j Evaluator<'j>,
        binary: &'j Binary,
        matching: &'j VectorMatching,
        many: &'j Vector,
        one: &'j Vector,
        grid: Grid,
    ) -> Result<Join<'j>, EvalError> {
        let mut signature = Signature::new(matching);
        let of_many = signature.of_all(many);
        let of_one = signature.of_all(one);
        let signatures = signature.numbers.len();
        let mut one_rows = vec![Vec::new(); signatures];
        for (row, number) in of_one.iter().enumerate() {
            one_rows[*number].push(row);
        }
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        let any = |rows: &Vector, step| (0..rows.len()).any(|row| rows.is_present(row, step));
        let active = (0..grid.steps).filter(|step| match (any(many, *step), any(one, *step)) {
            (true, true) => true,
            (false, false) => false,
            _ => fills,
        });
        let room = evaluator.lease(signatures.saturating_mul(grid.steps))?;
        Ok(Join {
            binary,
            matching,
            many,
            one,
            active: active.collect(),
            matched: vec![false; signatures * grid.steps],
            of_many,
            of_one,
            one_rows,
            steps: grid.steps,
            output: Output::new(evaluator, grid),
            given: Vec::new(),
            given_by: HashMap::new(),
            notices: LastNotices::new(evaluator),
            trouble: None,
            room,
        })
    }

    fn is_swapped(&self) -> bool {
        self.matching.cardinality == Cardinality::OneToMany
    }

    fn is_one_to_one(&self) -> bool {
        self.matching.cardinality == Cardinality::OneToOne
    }

    /// Two samples of the side "one" with one signature at one step.
    fn refuse_duplicates(&mut self) {
        let ambiguous: Vec<&Vec<usize>> = self.one_rows.iter().filter(|rows| rows.len() > 1).collect();
        let mut found: Option<(usize, usize, usize)> = None;
        for rows in ambiguous {
            for step in self.active.iter().copied() {
                let mut present = rows.iter().filter(|row| self.one.is_present(**row, step));
                if let (Some(first), Some(second)) = (present.next(), present.next()) {
                    if found.is_none_or(|(at, row, _)| (step, *second) < (at, row)) {
                        found = Some((step, *second, *first));
                    }
                    break;
                }
            }
        }
        if let Some((step, second, first)) = found {
            let error = self.duplicate_error(first, second);
            self.note_trouble(step, 0, error);
        }
    }

    fn duplicate_error(&self, first: usize, second: usize) -> EvalError {
        let labels = &self.one.head(second).labels;
        let group = to_go(&matched_labels(self.matching, labels));
        let side = if self.is_swapped() { "left" } else { "right" };
        let mut pair = [to_go(labels), to_go(&self.one.head(first).labels)];
        pair.sort();
        EvalError::Execution(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
            pair[0], pair[1]
        ))
    }

    fn note_trouble(&mut self, step: usize, phase: u8, error: EvalError) {
        let is_earlier = self.trouble.as_ref().is_none_or(|known| (step, phase) < (known.step, known.phase));
        if is_earlier {
            self.trouble = Some(Trouble { step, phase, error });
        }
    }

    /// Each sample of the side "many" with its match, or with the value to fill in.
    fn pair_many(&mut self) -> Result<(), EvalError> {
        let fill = self.fill_of_one();
        let active = std::mem::take(&mut self.active);
        for row in 0..self.many.len() {
            self.check()?;
            let signature = self.of_many[row];
            let mut partner: Option<(Option<usize>, Destination)> = None;
            for step in active.iter().copied() {
                let Some(sample) = element(self.many, row, step) else { continue };
                let one_row = self.one_row(signature, step);
                let other = match one_row {
                    Some(one_row) => element(self.one, one_row, step),
                    None => fill.map(Element::Float),
                };
                let Some(other) = other else { continue };
                if partner.as_ref().is_none_or(|(known, _)| *known != one_row) {
                    let destination = self.destination(signature, Some(row), one_row)?;
                    partner = Some((one_row, destination));
                }
                if let Some((_, destination)) = &mut partner {
                    self.pair(signature, step, (&sample, &other), destination, 1)?;
                }
            }
        }
        self.active = active;
        Ok(())
    }

    /// Each sample of the side "one" without a match, with the value to fill in.
    fn pair_unmatched(&mut self) -> Result<(), EvalError> {
        let Some(fill) = self.fill_of_many() else { return Ok(()) };
        let active = std::mem::take(&mut self.active);
        for row in 0..self.one.len() {
            self.check()?;
            let signature = self.of_one[row];
            let mut destination = self.destination(signature, None, Some(row))?;
            for step in active.iter().copied() {
                let Some(other) = element(self.one, row, step) else { continue };
                if !self.matched[signature * self.steps + step] {
                    self.pair(signature, step, (&Element::Float(fill), &other), &mut destination, 2)?;
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), EvalError> {
        self.output.evaluator.plan.options.check()
    }

    /// What stands for a missing sample of the side "one". As in Prometheus, which has swapped the sides of
    /// `group_right` by then but not the values, this is the right one's whichever side that is.
    fn fill_of_one(&self) -> Option<f64> {
        self.matching.fill_right
    }

    fn fill_of_many(&self) -> Option<f64> {
        self.matching.fill_left
    }

    fn one_row(&self, signature: usize, step: usize) -> Option<usize> {
        self.one_rows[signature].iter().copied().find(|row| self.one.is_present(*row, step))
    }

    fn pair(
        &mut self,
        signature: usize,
        step: usize,
        (many, one): (&Element, &Element),
        destination: &mut Destination,
        phase: u8,
    ) -> Result<(), EvalError> {
        let (lhs, rhs) = if self.is_swapped() { (one, many) } else { (many, one) };
        let operated = match operate(self.binary.op, lhs, rhs) {
            Ok(operated) => operated,
            Err(unfit) => {
                self.notices.set(step, unfit.notice);
                return Ok(());
            }
        };
        if let Some(notice) = operated.notice {
            self.notices.set(step, notice);
        }
        if let Err(error) = self.claim(signature, step, destination) {
            self.note_trouble(step, phase, error);
            return Ok(());
        }
        let value = match self.binary.return_bool {
            true => Element::Float(f64::from(u8::from(operated.keep))),
            false if operated.keep => operated.value,
            false => return Ok(()),
        };
        let row = match destination.row {
            Some(row) => row,
            None => {
                let row = self.output.row(&destination.labels, self.binary.return_bool)?;
                *destination.row.insert(row)
            }
        };
        if let Err(error) = self.output.put(row, step, value) {
            self.note_trouble(step, 3, error);
        }
        Ok(())
    }

    /// Refuses a second sample where there may be one only.
    fn claim(&mut self, signature: usize, step: usize, destination: &Destination) -> Result<(), EvalError> {
        let refused = |message: &str| Err(EvalError::Execution(message.to_string()));
        let matched = &mut self.matched[signature * self.steps + step];
        let was_matched = std::mem::replace(matched, true);
        match &destination.given {
            None if was_matched => refused(
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
            ),
            None => Ok(()),
            Some(given) => {
                if std::mem::replace(&mut self.given[*given][step], true) {
                    return refused(
                        "multiple matches for labels: grouping labels must ensure unique matches",
                    );
                }
                Ok(())
            }
        }
    }

    /// Where the results of a row of each side go. A side that is filled in has the labels by which it would have
    /// been found.
    fn destination(
        &mut self,
        signature: usize,
        many: Option<usize>,
        one: Option<usize>,
    ) -> Result<Destination, EvalError> {
        let head = |rows: &Vector, row: usize| rows.head(row).labels.clone();
        let (many, one) = match (many, one) {
            (Some(many), Some(one)) => (head(self.many, many), head(self.one, one)),
            (Some(many), None) => {
                let many = head(self.many, many);
                let one = matched_labels(self.matching, &many);
                (many, one)
            }
            (None, Some(one)) => {
                let one = head(self.one, one);
                (matched_labels(self.matching, &one), one)
            }
            (None, None) => (Labels::empty(), Labels::empty()),
        };
        let labels = self.result_labels(&many, &one);
        let given = match self.is_one_to_one() {
            true => None,
            false => Some(self.given(signature, labels.id())?),
        };
        Ok(Destination { row: None, labels, given })
    }

    fn given(&mut self, signature: usize, labels: SeriesId) -> Result<usize, EvalError> {
        let next = self.given.len();
        let index = *self.given_by.entry((signature, labels)).or_insert(next);
        if index == next {
            self.room.grow(2 * PLACE_BYTES + self.steps)?;
            self.given.push(vec![false; self.steps]);
        }
        Ok(index)
    }

    fn result_labels(&self, many: &Labels, one: &Labels) -> Labels {
        let drops_metadata = changes_meaning(self.binary.op);
        let is_listed = |name: &str| self.matching.labels.iter().any(|l| l == name);
        let labels = many.without(|name| {
            let is_dropped = self.is_one_to_one() && is_listed(name) != self.matching.on;
            is_dropped || (drops_metadata && is_metadata(name))
        });
        if self.matching.include.is_empty() {
            return labels;
        }
        let mut builder = labels.builder();
        for name in &self.matching.include {
            builder.set(name, one.get(name).unwrap_or_default());
        }
        builder.build()
    }

    fn finish(self, span: Span) -> Result<Vector, EvalError> {
        if let Some(trouble) = self.trouble {
            return Err(trouble.error);
        }
        self.notices.note(span);
        Ok(self.output.vector)
    }
}
