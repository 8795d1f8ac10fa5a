//! The whole system, over its own surface; and the rules that keep the house in order.

mod tidy;
