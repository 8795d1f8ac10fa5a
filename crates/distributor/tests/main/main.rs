//! Tests of the distributor from outside: recorded bodies, a second decoder, the HTTP contract, mutated input.

mod corpus;
mod differential;
mod http;
mod mutated;
mod oracle;
mod sample_bodies;
