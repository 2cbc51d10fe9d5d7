//! Functions and modules for Dormouse.
