// Exercise 17: a transpose without bank conflicts.
//
// Threads run in warps: 32 of them, here those with the same threadIdx.y, execute an instruction
// together. Global memory is fast if they touch neighbouring addresses (coalesced access). A
// transpose reads rows and writes columns: one of the two is slow. So with a block of 32 x 32
// threads (threadIdx.x, threadIdx.y) each warp reads a row of the tile into shared memory. After a
// barrier each warp takes a column of the tile and writes it as a row of y. So the thread that
// takes a number out of the tile is mostly not the one that has put it in.
//
// Shared memory has 32 banks: word w, of 4 bytes, lies in bank w % 32, and a warp's 32 accesses go
// at once only if no two ask for different words of one bank. Down a column of a tile of 32 x 32
// all 32 words are in one bank. With one unused word behind each row of the tile they are not.
//
// Task: y [columns, rows] = the transpose of x [rows, columns]. A block takes the tile of x whose
// first row is 32 * blockIdx.y and whose first column is 32 * blockIdx.x; rows and columns may end
// within a tile.
//
// In the library: tensor/cuda/conv/implicit_gemm_rows.cuh, where a convolution's results go by way
// of shared memory, in rows that are longer than they need be (row_pairs), to be written row by
// row. A plain transpose, which a training step hardly has, goes without a tile (copy.cu).
#pragma once

#include "tensor/cuda/shared_array.h"

using gradus::cuda::SharedArray;

__global__ void transpose(const float* x, float* y, int rows, int columns) {
  // In plain CUDA: __shared__ float tile[32 * 32]; write `float v = tile[i]`, not `auto v`.
  __shared__ SharedArray<float, 32 * 32> tile;  // TODO: is this the size that you want?
  // TODO: read x into the tile; a barrier; write y, where threadIdx.x runs along a row of y.
}
