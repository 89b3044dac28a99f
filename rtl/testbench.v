`timescale 1ns / 1ps
/* verilator lint_off WIDTH */

// Random pauses in stretches of one rate: none, 30, 50 or 90 %; in a patient one until the other side waits.
module tb_stalls #(parameter [31:0] SEED = 1) (input clk, input enable, input offered, output pause);
  reg [31:0] state = SEED;
  reg [5:0] left = 0;
  reg [7:0] rate = 0;
  reg patient = 0;

  function [31:0] xorshift(input [31:0] x);
    reg [31:0] y;
    begin
      y = x ^ (x << 13);
      y = y ^ (y >> 17);
      xorshift = y ^ (y << 5);
    end
  endfunction

  // For as long as it takes: a unit whose valid waited for ready would wait for ever.
  wire held = patient && !offered && left != 0;
  assign pause = enable && (held || state[7:0] < rate);

  always @(posedge clk)
    if (enable) begin
      state <= xorshift(state);
      if (!held) begin
        left <= left - 1;
        if (left == 0) begin
          left <= state[13:8] % 48;
          patient <= state[23:16] < 77;
          case (state[15:14])
            0: rate <= 0;
            1: rate <= 77;
            2: rate <= 128;
            3: rate <= 230;
          endcase
        end
      end
    end
endmodule

// Offers BEATS words of a file one after the other, and holds each until it is taken; never waits for ready.
module tb_source #(
  parameter NAME = "", parameter FILE = "", parameter CYCLES = "",
  parameter WIDTH = 1, parameter BEATS = 1, parameter FEW = 1, parameter [31:0] SEED = 1
) (
  input clk, input rst, input start, input stalling, input few, input [8*16-1:0] title,
  input [31:0] now, input [31:0] cycle,
  output reg valid, output reg [WIDTH-1:0] payload, input ready, output moves, output done
);
  reg [WIDTH-1:0] beats [0:BEATS-1];
  reg [31:0] cycles [0:BEATS-1];
  reg [31:0] moved = 0;
  wire [31:0] next = start ? 0 : moved + moves;
  wire pause;

  initial begin
    $readmemh(FILE, beats);
    $readmemh(CYCLES, cycles);
    valid = 0;
    payload = 0;
  end

  tb_stalls #(.SEED(SEED)) stalls (.clk(clk), .enable(stalling), .offered(1'b1), .pause(pause));
  assign moves = valid && ready && !rst;
  assign done = moved >= (few ? FEW : BEATS);

  always @(posedge clk) begin
    moved <= next;
    if (start || (!rst && (moves || !valid))) begin
      valid <= next < (few ? FEW : BEATS) && !pause;
      if (next < (few ? FEW : BEATS) && !pause) payload <= beats[next];
    end
    if (!rst && ready !== 0 && ready !== 1) begin
      $display("FAIL %0s: %0s.ready is undefined in cycle %0d", title, NAME, cycle);
      $fatal(1);
    end
    if (moves && !stalling && now !== cycles[moved]) begin
      $display("FAIL %0s: %0s beat %0d moved in cycle %0d, not %0d", title, NAME, moved, now, cycles[moved]);
      $fatal(1);
    end
  end
endmodule

// Takes words and compares each with the file's; an offered word must stay, unchanged, until it is taken.
module tb_sink #(
  parameter NAME = "", parameter FILE = "", parameter CYCLES = "",
  parameter WIDTH = 1, parameter BEATS = 1, parameter FEW = 1, parameter [31:0] SEED = 1
) (
  input clk, input rst, input start, input stalling, input few, input [8*16-1:0] title,
  input [31:0] now, input [31:0] cycle,
  input valid, input [WIDTH-1:0] payload, output reg ready, output moves, output done, output reg [31:0] compared
);
  reg [WIDTH-1:0] beats [0:BEATS-1];
  reg [31:0] cycles [0:BEATS-1];
  reg [31:0] moved = 0;
  reg [WIDTH-1:0] held = 0;
  reg waiting = 0;
  wire pause;

  initial begin
    $readmemh(FILE, beats);
    $readmemh(CYCLES, cycles);
    ready = 0;
    compared = 0;
  end

  tb_stalls #(.SEED(SEED)) stalls (.clk(clk), .enable(stalling), .offered(valid && !moves), .pause(pause));
  assign moves = valid && ready && !rst;
  assign done = moved >= (few ? FEW : BEATS);

  always @(posedge clk) begin
    moved <= start ? 0 : moved + moves;
    compared <= compared + moves;
    waiting <= !rst && valid && !ready;
    held <= payload;
    if (start || !rst) ready <= !pause;
    if (!rst && valid !== 0 && valid !== 1) begin
      $display("FAIL %0s: %0s.valid is undefined in cycle %0d", title, NAME, cycle);
      $fatal(1);
    end
    if (!rst && waiting && !valid) begin
      $display("FAIL %0s: %0s dropped valid in cycle %0d before ready", title, NAME, cycle);
      $fatal(1);
    end
    if (!rst && valid && ^payload === 1'bx) begin
      $display("FAIL %0s: %0s.payload is undefined in cycle %0d: %b", title, NAME, cycle, payload);
      $fatal(1);
    end
    if (!rst && waiting && valid && payload !== held) begin
      $display("FAIL %0s: %0s changed its payload in cycle %0d while stalled", title, NAME, cycle);
      $fatal(1);
    end
    if (moves && moved >= (few ? FEW : BEATS)) begin
      $display("FAIL %0s: %0s beat %0d is %h in cycle %0d, but none is due", title, NAME, moved, payload, cycle);
      $fatal(1);
    end else if (moves && payload !== beats[moved]) begin
      $display("FAIL %0s: %0s beat %0d is %h, not %h, in cycle %0d", title, NAME, moved, payload, beats[moved], cycle);
      $fatal(1);
    end else if (moves && !stalling && now !== cycles[moved]) begin
      $display("FAIL %0s: %0s beat %0d moved in cycle %0d, not %0d", title, NAME, moved, now, cycles[moved]);
      $fatal(1);
    end
  end
endmodule
