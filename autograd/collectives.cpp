#include <gradus/autograd/collectives.h>

#include <future>
#include <memory>
#include <utility>
#include <vector>

#include <gradus/autograd/ops.h>

namespace gradus {
namespace {

/// The sum of the members' gradients of a result that they share, from this one's.
Tensor sum_of_gradients(const Tensor& own, Communicator& communicator, Downstream downstream) {
  if (downstream == Downstream::same) return affine(own, communicator.size(), -0.0);
  Tensor sum = own.clone();
  communicator.all_reduce(sum);
  return sum;
}

/// Gradients that are sent together.
class Bucket {
 public:
  void add(const std::shared_ptr<Node>& leaf) {
    leaves_.push_back(leaf);
    elements_ += leaf->gradient.numel();
  }
  /// Whether a gradient can go with the others: all must be of one type.
  bool takes(const Tensor& gradient) const {
    return is_empty() || leaves_.front()->gradient.dtype() == gradient.dtype();
  }
  bool is_empty() const { return leaves_.empty(); }
  bool is_full() const { return elements_ >= enough; }

  /// Takes the gradients from their leaves.
  void send(Communicator& communicator) {
    std::vector<Tensor> gradients;
    for (const auto& leaf : leaves_)
      gradients.push_back(std::exchange(leaf->gradient, {}).reshape({leaf->shape.numel()}));
    all_ = concat(gradients);
    sum_ = communicator.start_all_reduce(all_);
  }

  /// Gives the leaves their averages.
  void receive(int members) {
    sum_.get();
    const Tensor averages = affine(all_, 1.0 / members, -0.0);
    std::int64_t begin = 0;
    for (const auto& leaf : leaves_) {
      const std::int64_t end = begin + leaf->shape.numel();
      leaf->gradient = averages.slice(begin, end).reshape(leaf->shape);
      begin = end;
    }
  }

 private:
  static constexpr std::int64_t enough = std::int64_t{1} << 20;
  std::vector<std::shared_ptr<Node>> leaves_;
  std::int64_t elements_ = 0;
  Tensor all_;
  std::shared_future<void> sum_;
};

}  // namespace

Variable all_reduce(const Variable& x, Communicator& communicator, Downstream downstream) {
  Tensor sum = x.value().clone();
  communicator.all_reduce(sum);
  return make_variable("all_reduce", std::move(sum), {&x},
                       [&communicator, downstream](const Tensor& dy) -> std::vector<Tensor> {
                         return {sum_of_gradients(dy, communicator, downstream)};
                       });
}

Variable all_gather(const Variable& x, Communicator& communicator, Downstream downstream) {
  return make_variable(
      "all_gather", communicator.all_gather(x.value()), {&x},
      [shape = x.shape(), &communicator, downstream](const Tensor& dy) -> std::vector<Tensor> {
        const std::int64_t rank = communicator.rank();
        return {
            sum_of_gradients(dy, communicator, downstream).slice(rank, rank + 1).reshape(shape)};
      });
}

void backward_of_mean(const Variable& loss, Communicator& communicator) {
  std::vector<Bucket> buckets(1);
  const auto send_last = [&] {
    buckets.back().send(communicator);
    buckets.emplace_back();
  };
  loss.backward({}, false, [&](const std::shared_ptr<Node>& leaf) {
    const Tensor& gradient = leaf->gradient;
    if (!gradient.defined()) return;
    check(gradient.dtype() == DType::float32 || gradient.dtype() == DType::float64,
          "backward_of_mean", "parameters must be float32 or float64; got {}",
          name(gradient.dtype()));
    if (!buckets.back().takes(gradient)) send_last();
    buckets.back().add(leaf);
    if (buckets.back().is_full()) send_last();
  });
  if (buckets.back().is_empty())
    buckets.pop_back();
  else
    buckets.back().send(communicator);
  for (Bucket& bucket : buckets) bucket.receive(communicator.size());
}

}  // namespace gradus
