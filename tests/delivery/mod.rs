// SPDX-License-Identifier: Apache-2.0
//! Machines out of every form in which images are delivered.

mod flash;
mod forms;
mod live;
