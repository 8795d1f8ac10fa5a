//! From attributes to label runs.
//!
//! The points of a metric have the same attribute keys, and mostly other metrics of their scope have them too. So
//! what the keys lead to (names, their order, which label of the resource stands where) is worked out once per set
//! of keys as a [`Plan`]; a point then writes its values between what the plan has ready.

use hashbrown::HashMap;

use super::names::Naming;
use crate::proto::{Malformed, Reader, Wire};

/// Attributes of one point, in the order of arrival.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    list: Vec<Attribute>,
    /// Values that are not strings, as text.
    text: Vec<u8>,
}

/// Where key and value of an attribute lie: the key in the body, the value in the body or among the texts.
#[derive(Debug, Clone, Copy)]
struct Attribute {
    key: (u32, u32),
    value: (u32, u32),
    in_text: bool,
}

/// A label that all series of a scope have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fixed {
    pub(super) name: String,
    pub(super) value: Vec<u8>,
    /// Whether it stands in the place of an attribute of this name, or only where there is none.
    pub(super) wins: bool,
}

/// What stands beside the attributes in a label run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Extra {
    None,
    /// The bound of a bucket.
    Le,
    /// The quantile of a summary.
    Quantile,
}

/// The plans of one scope, and the names of labels of one request.
#[derive(Debug, Default)]
pub(super) struct Plans {
    plans: Vec<Plan>,
    /// The plan that was used last.
    last: usize,
    names: HashMap<Vec<u8>, Option<String>>,
}

/// What a set of keys leads to.
#[derive(Debug, Default)]
struct Plan {
    extra: Option<Extra>,
    /// The keys, each with its length before it.
    keys: Vec<u8>,
    n_keys: usize,
    parts: Vec<Part>,
    /// Label names and whole labels.
    bytes: Vec<u8>,
    /// Attributes that lead to one name.
    joined: Vec<u32>,
    /// Whether the values of such become one. Where names stay as they are a key is there twice, which makes the
    /// series invalid unless all but one are empty.
    joins: bool,
    /// A key of which no label name is left.
    nameless: Option<String>,
}

/// A piece of a label run.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// Labels that are ready.
    Ready((u32, u32)),
    /// The label with this name and the value of an attribute, or the ready one where that is empty.
    Value { name: (u32, u32), attribute: u32, fallback: (u32, u32) },
    /// The label with this name and the values of several attributes, or the ready one where all are empty.
    Joined { name: (u32, u32), attributes: (u32, u32), fallback: (u32, u32) },
    /// The metric's name.
    Name,
    /// The bound or quantile.
    Extra,
}

/// More plans than this are not kept: keys differ from point to point then.
const MAX_PLANS: usize = 32;
/// More names than this are not kept.
const MAX_NAMES: usize = 4096;
/// Set by the metric, never by an attribute.
const METRIC_NAME: &[u8] = b"__name__";

impl Attributes {
    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.text.clear();
    }

    /// Reads one `KeyValue`.
    pub(super) fn read(&mut self, mut message: Reader<'_>) -> Result<(), Malformed> {
        if let Some(attribute) = plain(&message) {
            self.list.push(attribute);
            return Ok(());
        }
        let mut attribute = Attribute { key: (0, 0), value: (0, 0), in_text: true };
        while !message.is_done() {
            let (number, wire) = message.tag()?;
            match number {
                1 => attribute.key = span(&mut message, wire)?,
                2 => {
                    let from = self.text.len() as u32;
                    super::value::append(message.message(wire)?, &mut self.text)?;
                    attribute.value = (from, self.text.len() as u32);
                }
                _ => message.skip(number, wire)?,
            }
        }
        self.list.push(attribute);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Keys and values in the order of arrival.
    pub(super) fn iter<'a>(&'a self, body: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.list.iter().map(move |attribute| (slice(body, attribute.key), self.value(body, attribute)))
    }

    /// The value of the first attribute with this key.
    pub(super) fn get<'a>(&'a self, body: &'a [u8], key: &str) -> Option<&'a [u8]> {
        self.iter(body).find(|(other, _)| *other == key.as_bytes()).map(|(_, value)| value)
    }

    /// Takes out the attributes with these keys.
    pub(super) fn remove(&mut self, body: &[u8], keys: &[&str]) {
        self.list.retain(|attribute| {
            let key = slice(body, attribute.key);
            !keys.iter().any(|other| other.as_bytes() == key)
        });
    }

    fn value<'a>(&'a self, body: &'a [u8], attribute: &Attribute) -> &'a [u8] {
        slice(if attribute.in_text { &self.text } else { body }, attribute.value)
    }

    fn nth<'a>(&'a self, body: &'a [u8], i: u32) -> &'a [u8] {
        self.list.get(i as usize).map_or(&[], |attribute| self.value(body, attribute))
    }
}

/// A `KeyValue` of a short key and a short string, as nearly all are.
fn plain(message: &Reader<'_>) -> Option<Attribute> {
    let (at, bytes) = (message.pos(), message.rest());
    let [0x0A, key_len @ 0..0x80, rest @ ..] = bytes else { return None };
    let key_len = usize::from(*key_len);
    let [0x12, any_len @ 0..0x80, 0x0A, value_len @ 0..0x80, value @ ..] = rest.get(key_len..)? else {
        return None;
    };
    let value_len = usize::from(*value_len);
    if value.len() != value_len || usize::from(*any_len) != value_len + 2 {
        return None;
    }
    let key = at + 2;
    let value = key + key_len + 4;
    let span = |from: usize, len: usize| (from as u32, (from + len) as u32);
    Some(Attribute { key: span(key, key_len), value: span(value, value_len), in_text: false })
}

fn span(message: &mut Reader<'_>, wire: Wire) -> Result<(u32, u32), Malformed> {
    let len = message.bytes(wire)?.len();
    Ok(((message.pos() - len) as u32, message.pos() as u32))
}

impl Plans {
    /// Forgets the plans, since the labels of another scope stand in them.
    pub(super) fn forget(&mut self) {
        self.plans.clear();
        self.last = 0;
    }

    /// Forgets the names as well: another tenant may have other rules.
    pub(super) fn reset(&mut self) {
        self.forget();
        if self.names.len() > MAX_NAMES {
            self.names = HashMap::new();
        }
        self.names.clear();
    }

    /// Writes the label run of a point into `run`. `name` and `extra` are whole labels. The error is a key that
    /// cannot name a label.
    pub(super) fn write(
        &mut self,
        run: &mut Vec<u8>,
        body: &[u8],
        attributes: &Attributes,
        context: Context<'_>,
        name: &[u8],
        extra: (Extra, &[u8]),
    ) -> Result<(), String> {
        let plan = self.plan(body, attributes, context, extra.0);
        if let Some(key) = &plan.nameless {
            return Err(format!("the attribute name {key:?} has no character that a label's name may have"));
        }
        run.clear();
        for part in &plan.parts {
            match *part {
                Part::Ready(span) => run.extend_from_slice(slice(&plan.bytes, span)),
                Part::Name => run.extend_from_slice(name),
                Part::Extra => run.extend_from_slice(extra.1),
                Part::Value { name, attribute, fallback } => {
                    let value = attributes.nth(body, attribute);
                    match value.is_empty() {
                        true => run.extend_from_slice(slice(&plan.bytes, fallback)),
                        false => push_label(run, slice(&plan.bytes, name), value),
                    }
                }
                Part::Joined { name, attributes: (from, to), fallback } => {
                    let members = plan.joined.get(from as usize..to as usize).unwrap_or_default();
                    let values = members.iter().map(|i| attributes.nth(body, *i));
                    push_values(run, slice(&plan.bytes, name), values, plan.joins);
                    if members.iter().all(|i| attributes.nth(body, *i).is_empty()) {
                        run.extend_from_slice(slice(&plan.bytes, fallback));
                    }
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn plan(&mut self, body: &[u8], attributes: &Attributes, context: Context<'_>, extra: Extra) -> &Plan {
        let fits = |plan: &Plan| plan.extra == Some(extra) && plan.has_keys_of(body, attributes);
        if !self.plans.get(self.last).is_some_and(fits) {
            self.last = self.plans.iter().position(fits).unwrap_or_else(|| {
                if self.plans.len() >= MAX_PLANS {
                    self.plans.clear();
                }
                let names = &mut self.names;
                self.plans.push(Plan::new(body, attributes, context, extra, names));
                self.plans.len() - 1
            });
        }
        &self.plans[self.last]
    }

    /// The label name of a key, as it was found before.
    pub(super) fn name(&mut self, naming: Naming, key: &[u8]) -> Option<String> {
        label_name(&mut self.names, naming, key).map(str::to_string)
    }
}

/// Where an attribute stands: what comes from resource and scope, and the rules for names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) naming: Naming,
    /// Sorted by name.
    pub(super) fixed: &'a [Fixed],
}

/// Labels in the making, by their final names.
struct Draft<'a> {
    name: &'a [u8],
    /// The attributes that lead to this name, in the order of their keys.
    attributes: Vec<u32>,
    fixed: Option<&'a Fixed>,
    given: Option<Part>,
}

impl Plan {
    fn new(
        body: &[u8],
        attributes: &Attributes,
        context: Context<'_>,
        extra: Extra,
        names: &mut HashMap<Vec<u8>, Option<String>>,
    ) -> Plan {
        let (n_keys, joins) = (attributes.len(), context.naming.escapes);
        let mut plan = Plan { extra: Some(extra), n_keys, joins, ..Plan::default() };
        for (key, _) in attributes.iter(body) {
            plan.keys.extend_from_slice(&(key.len() as u32).to_le_bytes());
            plan.keys.extend_from_slice(key);
        }
        // In the order of the keys, so that values that are joined come in one order whatever the order of arrival.
        let mut order: Vec<(&[u8], u32)> =
            attributes.iter(body).enumerate().map(|(i, (key, _))| (key, i as u32)).collect();
        order.retain(|(key, _)| *key != METRIC_NAME);
        order.sort_by_key(|(key, _)| *key);
        let mut named: Vec<(String, u32)> = Vec::with_capacity(order.len());
        for (key, i) in order {
            let name = match context.naming.escapes {
                true => label_name(names, context.naming, key).map(str::to_string),
                false => std::str::from_utf8(key).ok().map(str::to_string),
            };
            match name {
                Some(name) => named.push((name, i)),
                None => plan.nameless = Some(String::from_utf8_lossy(key).into_owned()),
            }
        }
        named.sort_by(|a, b| a.0.cmp(&b.0));
        plan.lay_out(&drafts(&named, context, extra));
        plan
    }

    fn has_keys_of(&self, body: &[u8], attributes: &Attributes) -> bool {
        if self.n_keys != attributes.len() {
            return false;
        }
        let mut rest = &self.keys[..];
        attributes.list.iter().all(|attribute| {
            let key = slice(body, attribute.key);
            let Some((len, tail)) = rest.split_first_chunk::<4>() else { return false };
            let same = u32::from_le_bytes(*len) as usize == key.len() && tail.starts_with(key);
            rest = tail.get(key.len()..).unwrap_or_default();
            same
        })
    }

    fn lay_out(&mut self, drafts: &[Draft<'_>]) {
        for draft in drafts {
            if let Some(given) = draft.given {
                self.parts.push(given);
                continue;
            }
            let from = self.bytes.len() as u32;
            if let Some(fixed) = draft.fixed.filter(|fixed| !fixed.value.is_empty()) {
                push_label(&mut self.bytes, draft.name, &fixed.value);
            }
            let ready = (from, self.bytes.len() as u32);
            if draft.attributes.is_empty() || draft.fixed.is_some_and(|fixed| fixed.wins) {
                self.push_ready(ready);
                continue;
            }
            self.bytes.extend_from_slice(draft.name);
            let name = (ready.1, self.bytes.len() as u32);
            self.parts.push(match draft.attributes[..] {
                [attribute] => Part::Value { name, attribute, fallback: ready },
                _ => {
                    let from = self.joined.len() as u32;
                    self.joined.extend_from_slice(&draft.attributes);
                    let attributes = (from, self.joined.len() as u32);
                    Part::Joined { name, attributes, fallback: ready }
                }
            });
        }
    }

    /// Ready labels that follow each other are one piece.
    fn push_ready(&mut self, span: (u32, u32)) {
        match self.parts.last_mut() {
            Some(Part::Ready(last)) if last.1 == span.0 => last.1 = span.1,
            _ => self.parts.push(Part::Ready(span)),
        }
    }
}

/// One entry per label name, sorted: attributes, labels of resource and scope, metric name, bound.
fn drafts<'a>(named: &'a [(String, u32)], context: Context<'a>, extra: Extra) -> Vec<Draft<'a>> {
    let mut drafts: Vec<Draft<'a>> = Vec::new();
    for (name, i) in named {
        match drafts.last_mut() {
            Some(last) if last.name == name.as_bytes() => last.attributes.push(*i),
            _ => drafts.push(Draft { name: name.as_bytes(), attributes: vec![*i], fixed: None, given: None }),
        }
    }
    let mut place = |name: &'a [u8], fixed: Option<&'a Fixed>, given: Option<Part>| {
        let from = drafts.partition_point(|draft| draft.name < name);
        let to = drafts.partition_point(|draft| draft.name <= name);
        let wins = given.is_some() || fixed.is_some_and(|fixed| fixed.wins);
        if wins || from == to {
            drafts.splice(from..to, [Draft { name, attributes: Vec::new(), fixed, given }]);
        } else {
            drafts[from].fixed = fixed;
        }
    };
    for fixed in context.fixed {
        place(fixed.name.as_bytes(), Some(fixed), None);
    }
    match extra {
        Extra::None => {}
        Extra::Le => place(b"le", None, Some(Part::Extra)),
        Extra::Quantile => place(b"quantile", None, Some(Part::Extra)),
    }
    place(METRIC_NAME, None, Some(Part::Name));
    drafts
}

fn label_name<'n>(
    names: &'n mut HashMap<Vec<u8>, Option<String>>,
    naming: Naming,
    key: &[u8],
) -> Option<&'n str> {
    if names.len() > MAX_NAMES {
        names.clear();
    }
    names.entry_ref(key).or_insert_with(|| naming.label(&String::from_utf8_lossy(key))).as_deref()
}

/// Appends the values of attributes that lead to one name: as one label, or each that is not empty as its own.
fn push_values<'a>(run: &mut Vec<u8>, name: &[u8], values: impl Iterator<Item = &'a [u8]>, joins: bool) {
    if !joins {
        values.filter(|value| !value.is_empty()).for_each(|value| push_label(run, name, value));
        return;
    }
    let value = join(values);
    if !value.is_empty() {
        push_label(run, name, &value);
    }
}

/// Values with a semicolon between them; empty ones at the beginning leave no trace.
fn join<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut joined: Vec<u8> = Vec::new();
    for value in values {
        if !joined.is_empty() {
            joined.push(b';');
        }
        joined.extend_from_slice(value);
    }
    joined
}

/// Appends a label to a run, whatever the bytes: what is not UTF-8 is refused when the run is validated.
#[inline]
pub(super) fn push_label(run: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let len = 2 + varint_len(name.len()) + name.len() + varint_len(value.len()) + value.len();
    run.push(0x0A);
    push_varint(run, len);
    run.push(0x0A);
    push_varint(run, name.len());
    run.extend_from_slice(name);
    run.push(0x12);
    push_varint(run, value.len());
    run.extend_from_slice(value);
}

fn varint_len(value: usize) -> usize {
    (usize::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

#[inline]
pub(super) fn push_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
fn slice(bytes: &[u8], (from, to): (u32, u32)) -> &[u8] {
    bytes.get(from as usize..to as usize).unwrap_or_default()
}
