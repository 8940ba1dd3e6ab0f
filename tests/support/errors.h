// Tests of error messages.
#pragma once

#include <doctest/doctest.h>

#include <gradus/tensor/check.h>

/// The expression throws gradus::Error with `text` in its message.
#define CHECK_ERROR(expression, text) \
  CHECK_THROWS_WITH_AS((void)(expression), doctest::Contains(text), ::gradus::Error)
