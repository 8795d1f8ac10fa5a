//! query-frontend
