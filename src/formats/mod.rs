// SPDX-License-Identifier: Apache-2.0
//! Bytes only: each format of the image, from its specification.
//!
//! Nothing here knows Debian, Kubernetes, profiles or host paths.
