//! What the processes of a chaos run have in common: the function that both the application and the
//! endpoint serve ([`actor`]), the messages that it understands ([`order`]), and the lists of numbers
//! by which loss and doubling show ([`tracker`]).

pub mod actor;
pub mod order;
pub mod tracker;
