#include <gradus/tensor/ops.h>
#include "tensor/ops/support.h"

namespace gradus {
namespace {

void check_logits_and_labels(const Tensor& logits, const Tensor& labels, double smoothing) {
  constexpr std::string_view op = "softmax_cross_entropy";
  check_floating(op, "logits", logits);
  check_defined(op, "labels", labels);
  check(logits.rank() == 2 && logits.size(1) >= 1 && labels.shape() == Shape{logits.size(0)}, op,
        "logits must be [N, classes] and labels [N]; got {} and {}", logits.shape(),
        labels.shape());
  check(labels.dtype() == DType::int64, op, "labels must be int64; got {}", name(labels.dtype()));
  check(smoothing >= 0 && smoothing <= 1, op, "smoothing must be in [0, 1]; got {}", smoothing);
}

}  // namespace

Tensor softmax_cross_entropy(const Tensor& logits, const Tensor& labels, double smoothing) {
  check_logits_and_labels(logits, labels, smoothing);
  const std::int64_t rows = logits.size(0), classes = logits.size(1);
  if (labels.device() == Device::cpu || logits.device() == Device::cpu) {
    for (const std::int64_t label : labels.to_vector<std::int64_t>()) {
      check(label >= 0 && label < classes, "softmax_cross_entropy",
            "labels must be in [0, {}); got {}", classes, label);
    }
  }
  const Tensor device_labels = labels.to(logits.device());
  Tensor losses = empty({rows}, {compute_dtype(logits.dtype()), logits.device()});
  dispatch_floating("softmax_cross_entropy", logits.dtype(), [&]<class T>() {
    GRADUS_KERNEL(logits.device(),
                  softmax_cross_entropy(logits.data<T>(), device_labels.data<std::int64_t>(),
                                        losses.data<Compute<T>>(), smoothing, rows, classes));
  });
  return losses;
}

Tensor softmax_cross_entropy_backward(const Tensor& dlosses, const Tensor& logits,
                                      const Tensor& labels, double smoothing) {
  constexpr std::string_view op = "softmax_cross_entropy_backward";
  check_logits_and_labels(logits, labels, smoothing);
  check_index(op, "labels", labels, logits.device());
  check_parameter(op, "logits", logits, "dlosses", dlosses);
  check_shape(op, "dlosses", dlosses, labels.shape());
  Tensor dlogits = empty(logits.shape(), options_of(logits));
  dispatch_floating(op, logits.dtype(), [&]<class T>() {
    GRADUS_KERNEL(logits.device(),
                  softmax_cross_entropy_backward(dlosses.data<Compute<T>>(), logits.data<T>(),
                                                 labels.data<std::int64_t>(), dlogits.data<T>(),
                                                 smoothing, logits.size(0), logits.size(1)));
  });
  return dlogits;
}

}  // namespace gradus
