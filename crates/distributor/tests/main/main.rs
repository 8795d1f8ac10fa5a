//! Tests of the distributor from outside: recorded bodies, a second decoder, the HTTP contract, mutated input.

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod http;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod mutated;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod otlp;
#[cfg(test)]
mod remote_write2;
#[cfg(test)]
mod sample_bodies;
#[cfg(test)]
mod tenants;
